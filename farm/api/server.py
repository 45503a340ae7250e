"""The gRPC server: the farm's services, health and reflection on one loopback address."""

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from farm.api.address import check_loopback, listening_error
from farm.api.interceptor import ErrorInterceptor
from farm.api.job_service import JobService
from farm.api.model_service import ModelService, ModelSource
from farm.api.requests import MAX_MESSAGE_BYTES
from farm.api.worker_service import WorkerService
from farm.coordinator.coordinator import Coordinator
from farm.v1 import (
    job_service_pb2,
    job_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # two farms on one port would share the calls between them
)

_SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (job_service_pb2, "JobService"),
        (worker_service_pb2, "WorkerService"),
        (model_service_pb2, "ModelService"),
    )
)


class Server:
    """Serves a coordinator until it is stopped."""

    def __init__(self, server: grpc.aio.Server, address: str, health_servicer: health.aio.HealthServicer) -> None:
        self._server = server
        self._health = health_servicer
        self.address = address
        """Where it listens; the port is the real one where 0 was asked for."""

    @classmethod
    async def start(cls, address: str, coordinator: Coordinator, catalogue: ModelSource) -> "Server":
        """Starts to listen.

        Args:
            address: "host:port", "[ipv6]:port" or "unix:path"; port 0 takes any free one.
            coordinator: What answers for jobs and workers.
            catalogue: What answers for models.

        Raises:
            AddressError: The address is not loopback, is in use, or is not allowed.
        """
        check_loopback(address)
        server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=_OPTIONS)
        job_service_pb2_grpc.add_JobServiceServicer_to_server(JobService(coordinator), server)
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerService(coordinator), server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(catalogue, coordinator), server)
        health_servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
        reflection.enable_server_reflection((*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        try:
            port = server.add_insecure_port(address)
        except RuntimeError:
            raise listening_error(address) from None
        await server.start()
        for service in ("", *_SERVICES):
            await health_servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
        bound = address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
        return cls(server, bound, health_servicer)

    async def stop(self, grace_seconds: float = 2.0) -> None:
        """Takes no new calls, lets running ones finish for `grace_seconds`, then ends them."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_seconds)
