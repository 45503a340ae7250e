"""Tokens, invites and enrolment over gRPC."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from farm.access.access import Access
from farm.access.certificates import expiry
from farm.access.enrolment import Applicant, RayAccess, enrol
from farm.access.tokens import Role
from farm.access.versions import Versions, own_versions
from farm.api import codec
from farm.api.caller import caller
from farm.api.interceptor import Context
from farm.api.paging import page_by_name
from farm.errors import PermissionDeniedError, WrongStateError
from farm.v1 import access_pb2, access_service_pb2, access_service_pb2_grpc

INVITE_SECONDS = 3600.0

_NAME_LIMIT = 64
_CREATED = frozenset({Role.SUBMIT, Role.WORKER, Role.ADMIN})

R = TypeVar("R", access_service_pb2.CreateTokenResponse, access_service_pb2.CreateInviteResponse)


class AccessService(access_service_pb2_grpc.AccessServiceServicer):
    """Translates between `farm.v1.AccessService` and the farm's access; what writes files runs on a thread.

    Args:
        access: Authority and tokens.
        addresses: Tells where the farm can be reached from other machines, best first.
        ray: How workers reach Ray; None where the coordinator takes no workers.
    """

    def __init__(self, access: Access, addresses: Callable[[], Sequence[str]], ray: RayAccess | None) -> None:
        self._access = access
        self._addresses = addresses
        self._ray = ray
        self._enrolling = asyncio.Lock()  # two machines at once must not get one name

    async def CreateToken(
        self, request: access_service_pb2.CreateTokenRequest, context: Context
    ) -> access_service_pb2.CreateTokenResponse:
        role = codec.member(codec.ROLES, request.role, "role")
        if role not in _CREATED:
            raise codec.invalid("role", "must be ROLE_SUBMIT, ROLE_WORKER or ROLE_ADMIN")
        name = _name(request.display_name, "display_name")
        expire_time = _future(request.expire_time) if request.HasField("expire_time") else None
        return await self._create(access_service_pb2.CreateTokenResponse, role, name, expire_time)

    async def ListTokens(
        self, request: access_service_pb2.ListTokensRequest, context: Context
    ) -> access_service_pb2.ListTokensResponse:
        page, place = page_by_name(request, self._access.tokens.all(), lambda token: token.token_id)
        return access_service_pb2.ListTokensResponse(
            tokens=[codec.encode_token(token) for token in page], next_page_token=place
        )

    async def RevokeToken(self, request: access_service_pb2.RevokeTokenRequest, context: Context) -> access_pb2.Token:
        token_id = codec.resource_id(request.name, "tokens")
        if caller().role is Role.WORKER and token_id != caller().token_id:
            raise PermissionDeniedError("A worker may revoke its own token only, to leave the farm.")
        return codec.encode_token(await asyncio.to_thread(self._access.tokens.revoke, token_id))

    async def CreateInvite(
        self, request: access_service_pb2.CreateInviteRequest, context: Context
    ) -> access_service_pb2.CreateInviteResponse:
        self._ray_access()
        name = _name(request.display_name or "invite", "display_name")
        expire_time = _future(request.expire_time) if request.HasField("expire_time") else time.time() + INVITE_SECONDS
        return await self._create(access_service_pb2.CreateInviteResponse, Role.JOIN, name, expire_time)

    async def Enroll(
        self, request: access_service_pb2.EnrollRequest, context: Context
    ) -> access_service_pb2.EnrollResponse:
        versions = request.versions
        applicant = Applicant(
            join_token=request.join_token,
            worker_token=request.worker_token,
            worker_id=_name(codec.resource_id(request.worker, "workers", "worker"), "worker"),
            request_pem=request.csr,
            hosts=request.hosts,
            versions=Versions(versions.farm, versions.ray, versions.python, versions.source),
        )
        ray = self._ray_access()
        async with self._enrolling:
            enrolled = await asyncio.to_thread(enrol, self._access, applicant)
        response = access_service_pb2.EnrollResponse(
            certificate=enrolled.certificate_pem,
            ca_certificate=self._access.authority.certificate_pem,
            worker_token=enrolled.secret or "",
            worker_token_name=f"tokens/{enrolled.token.token_id}",
            ray_address=ray.address,
            ray_token=ray.token,
            ray_tls=ray.is_tls,
            versions=codec.encode_versions(own_versions()),
        )
        response.expire_time.FromDatetime(expiry(enrolled.certificate_pem))
        return response

    async def _create(self, response: type[R], role: Role, name: str, expire_time: float | None) -> R:
        """Makes a token, and says what its holder needs besides."""
        token, secret = await asyncio.to_thread(self._access.tokens.create, role, name, expire_time)
        return response(
            token=codec.encode_token(token),
            secret=secret,
            ca_fingerprint=self._access.authority.fingerprint,
            addresses=self._addresses(),
        )

    def _ray_access(self) -> RayAccess:
        if self._ray is None:
            raise WrongStateError(
                "This coordinator renders by itself and takes no workers. Start it with `farm coordinator --engine "
                "ray`."
            )
        return self._ray


def _name(text: str, field: str) -> str:
    if not 0 < len(text) <= _NAME_LIMIT or not text.isprintable() or text != text.strip():
        raise codec.invalid(field, f"must have 1 to {_NAME_LIMIT} printable characters, without spaces at its ends")
    return text


def _future(stamp: Timestamp) -> float:
    seconds = stamp.seconds + stamp.nanos / 1e9
    if seconds <= time.time():
        raise codec.invalid("expire_time", "is not in the future")
    return seconds
