"""Models over gRPC."""

import asyncio

from farm.api import codec
from farm.api.interceptor import Context
from farm.api.paging import page_by_name
from farm.coordinator.admission import Models
from farm.coordinator.coordinator import Coordinator
from farm.v1 import model_pb2, model_service_pb2, model_service_pb2_grpc


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Translates between `farm.v1.ModelService`, the coordinator and the catalogue (on a thread: it reads folders)."""

    def __init__(self, catalogue: Models, coordinator: Coordinator) -> None:
        self._catalogue = catalogue
        self._coordinator = coordinator

    async def GetModel(self, request: model_service_pb2.GetModelRequest, context: Context) -> model_pb2.Model:
        name = codec.resource_id(request.name, "models")
        return codec.encode_model(await asyncio.to_thread(self._catalogue.get, name), await self._coordinator.workers())

    async def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: Context
    ) -> model_service_pb2.ListModelsResponse:
        models = await asyncio.to_thread(self._catalogue.models)
        workers = await self._coordinator.workers()
        page, token = page_by_name(request, models, lambda model: model.name)
        return model_service_pb2.ListModelsResponse(
            models=[codec.encode_model(model, workers) for model in page], next_page_token=token
        )

    async def PrewarmModel(
        self, request: model_service_pb2.PrewarmModelRequest, context: Context
    ) -> model_service_pb2.PrewarmModelResponse:
        name = codec.resource_id(request.name, "models")
        workers = [codec.resource_id(worker, "workers", "workers") for worker in request.workers]
        told = await self._coordinator.prewarm_model(name, workers)
        return model_service_pb2.PrewarmModelResponse(workers=[f"workers/{worker}" for worker in told])
