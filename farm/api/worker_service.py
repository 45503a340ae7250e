"""Workers over gRPC."""

from farm.access.tokens import Role
from farm.api import codec
from farm.api.caller import caller
from farm.api.interceptor import Context
from farm.api.paging import page_by_name
from farm.coordinator.coordinator import Coordinator
from farm.errors import PermissionDeniedError
from farm.v1 import worker_pb2, worker_service_pb2, worker_service_pb2_grpc


class WorkerService(worker_service_pb2_grpc.WorkerServiceServicer):
    """Translates between `farm.v1.WorkerService` and the coordinator."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    async def GetWorker(self, request: worker_service_pb2.GetWorkerRequest, context: Context) -> worker_pb2.Worker:
        return codec.encode_worker(await self._coordinator.worker(codec.resource_id(request.name, "workers")))

    async def ListWorkers(
        self, request: worker_service_pb2.ListWorkersRequest, context: Context
    ) -> worker_service_pb2.ListWorkersResponse:
        workers = await self._coordinator.workers()
        page, token = page_by_name(request, workers, lambda worker: worker.worker_id)
        return worker_service_pb2.ListWorkersResponse(
            workers=[codec.encode_worker(worker) for worker in page], next_page_token=token
        )

    async def DrainWorker(self, request: worker_service_pb2.DrainWorkerRequest, context: Context) -> worker_pb2.Worker:
        worker_id = _steered(request.name)
        return codec.encode_worker(await self._coordinator.drain_worker(worker_id, now=request.now))

    async def ResumeWorker(
        self, request: worker_service_pb2.ResumeWorkerRequest, context: Context
    ) -> worker_pb2.Worker:
        return codec.encode_worker(await self._coordinator.resume_worker(_steered(request.name)))


def _steered(name: str) -> str:
    """Which worker is to be steered; a worker steers itself only."""
    worker_id = codec.resource_id(name, "workers")
    if caller().role is Role.WORKER and caller().display_name != worker_id:
        raise PermissionDeniedError("A worker may drain and resume itself only.", worker=worker_id)
    return worker_id
