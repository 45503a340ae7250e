"""The gRPC server: the farm's services, health and reflection on one address."""

from contextlib import ExitStack
from dataclasses import replace

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from farm.access.access import Access
from farm.access.enrolment import RayAccess
from farm.access.local_farms import register_local_farm
from farm.access.user import user_name
from farm.api.access_service import AccessService
from farm.api.address import listening_error
from farm.api.caller import AccessInterceptor
from farm.api.interceptor import ErrorInterceptor
from farm.api.job_service import JobService
from farm.api.model_service import ModelService
from farm.api.permissions import check_complete
from farm.api.reach import Reach
from farm.api.requests import MAX_MESSAGE_BYTES
from farm.api.tls import ServerIdentity
from farm.api.worker_service import WorkerService
from farm.coordinator.admission import Models
from farm.coordinator.coordinator import Coordinator
from farm.v1 import (
    access_service_pb2,
    access_service_pb2_grpc,
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
    # Streams to clients that vanished without a word end within a minute or so; clients ask as often.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
)

SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name]
    for module, name in (
        (job_service_pb2, "JobService"),
        (worker_service_pb2, "WorkerService"),
        (model_service_pb2, "ModelService"),
        (access_service_pb2, "AccessService"),
        (health_pb2, "Health"),
        (reflection_pb2, "ServerReflection"),
    )
)
"""Every service that the server answers for."""

_NAMES = tuple(service.full_name for service in SERVICES)


class Server:
    """Serves a coordinator until it is stopped."""

    def __init__(self, server: grpc.aio.Server, health_servicer: health.aio.HealthServicer, reach: Reach) -> None:
        self._server = server
        self._health = health_servicer
        self._open = ExitStack()
        self.reach = reach
        """Where it listens; the port is the real one where 0 was asked for."""

    @property
    def address(self) -> str:
        """Where it listens."""
        return self.reach.address

    @classmethod
    async def start(
        cls,
        reach: Reach,
        coordinator: Coordinator,
        catalogue: Models,
        access: Access,
        ray: RayAccess | None = None,
    ) -> "Server":
        """Starts to listen: with TLS, unless only this machine can reach it.

        Args:
            reach: Where to listen; port 0 takes any free one.
            coordinator: What answers for jobs and workers.
            catalogue: What answers for models.
            access: Who may call.
            ray: How workers reach Ray; None where the coordinator takes no workers.

        Raises:
            AddressError: The address is in use, is not allowed, or is none.
        """
        check_complete(SERVICES)
        server = grpc.aio.server(interceptors=[AccessInterceptor(access.tokens), ErrorInterceptor()], options=_OPTIONS)
        bound = _bind(server, reach, access)
        job_service_pb2_grpc.add_JobServiceServicer_to_server(JobService(coordinator), server)
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerService(coordinator), server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(catalogue, coordinator), server)
        access_service_pb2_grpc.add_AccessServiceServicer_to_server(AccessService(access, bound.addresses, ray), server)
        health_servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
        reflection.enable_server_reflection(_NAMES, server)
        access.tokens.renew_local(user_name())
        await server.start()
        for service in ("", *_NAMES):
            await health_servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
        started = cls(server, health_servicer, bound)
        started._open.enter_context(register_local_farm(bound.address, access.folder, is_tls=not bound.is_local))
        return started

    async def stop(self, grace_seconds: float = 2.0) -> None:
        """Takes no new calls, lets running ones finish for `grace_seconds`, then ends them."""
        self._open.close()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_seconds)


def _bind(server: grpc.aio.Server, reach: Reach, access: Access) -> Reach:
    """Takes the address, and gives it with its real port."""
    try:
        if reach.is_local:
            port = server.add_insecure_port(reach.address)
        else:
            identity = ServerIdentity(access.authority, reach.certified_hosts)
            port = server.add_secure_port(reach.address, identity.credentials())
    except RuntimeError:
        raise listening_error(reach.address) from None
    if reach.address.startswith("unix:"):
        return reach
    return replace(reach, address=f"{reach.address.rpartition(':')[0]}:{port}")
