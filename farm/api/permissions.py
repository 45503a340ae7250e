"""Who may make which call: one table of every method that the server answers.

A method that is not in it is answered for nobody: the server does not start (`check_complete`).
"""

from collections.abc import Iterable, Mapping

from google.protobuf.descriptor import ServiceDescriptor

from farm.access.tokens import Role, Token
from farm.errors import PermissionDeniedError

_ADMIN = frozenset({Role.ADMIN})
_SUBMITTER = frozenset({Role.ADMIN, Role.SUBMIT})
_WORKER = frozenset({Role.ADMIN, Role.WORKER})
_MEMBER = frozenset({Role.ADMIN, Role.SUBMIT, Role.WORKER})
_ANYONE: frozenset[Role] = frozenset(Role)

OPEN = frozenset({"/grpc.health.v1.Health/", "/farm.v1.AccessService/Enroll"})
"""What needs no token in the metadata: whether the farm is alive, and Enroll, which has its proof in the request."""

PERMISSIONS: Mapping[str, Mapping[str, frozenset[Role]]] = {
    "farm.v1.JobService": {  # of others' jobs, only admins learn that they exist
        "SubmitJob": _SUBMITTER,
        "GetJob": _SUBMITTER,
        "ListJobs": _SUBMITTER,
        "DeleteJob": _SUBMITTER,
        "CancelJob": _SUBMITTER,
        "PauseJob": _SUBMITTER,
        "ResumeJob": _SUBMITTER,
        "RetryJob": _SUBMITTER,
        "UpdateJobPriority": _SUBMITTER,
        "WatchJob": _SUBMITTER,
        "ExplainJob": _SUBMITTER,
        "ListImages": _SUBMITTER,
        "DownloadImages": _SUBMITTER,
    },
    "farm.v1.WorkerService": {
        "GetWorker": _MEMBER,
        "ListWorkers": _MEMBER,
        "DrainWorker": _WORKER,  # a worker drains itself only
        "ResumeWorker": _WORKER,
    },
    "farm.v1.ModelService": {
        "GetModel": _MEMBER,
        "ListModels": _MEMBER,
        "PrewarmModel": _ADMIN,
    },
    "farm.v1.AccessService": {
        "CreateToken": _ADMIN,
        "ListTokens": _ADMIN,
        "RevokeToken": _WORKER,  # a worker revokes its own only
        "CreateInvite": _ADMIN,
        "Enroll": _ANYONE,
    },
    "grpc.health.v1.Health": {
        "Check": _ANYONE,
        "Watch": _ANYONE,
        "List": _ANYONE,
    },
    "grpc.reflection.v1alpha.ServerReflection": {
        "ServerReflectionInfo": _MEMBER,
    },
}
"""Roles that may call, by service and method."""


def is_open(method: str) -> bool:
    """Whether a method ("/service/method") needs no token."""
    service, _, _ = method.rpartition("/")
    return method in OPEN or f"{service}/" in OPEN


def check_permission(caller: Token, method: str) -> None:
    """Makes sure that a caller may make this call.

    Args:
        caller: The token that it carries.
        method: "/service/method".

    Raises:
        PermissionDeniedError: Its role does not allow it, or no role does.
    """
    service, _, name = method.removeprefix("/").partition("/")
    allowed = PERMISSIONS.get(service, {}).get(name, frozenset())
    if caller.role not in allowed:
        roles = " or ".join(role.value for role in Role if role in allowed) or "other"
        raise PermissionDeniedError(
            f'{name} needs a token with the role {roles}, and this one of "{caller.display_name}" has the role '
            f"{caller.role.value}. Ask the farm's owner for one (`farm token create --role ...`).",
            method=name,
            role=caller.role.value,
        )


def check_complete(services: Iterable[ServiceDescriptor]) -> None:
    """Makes sure that the table says something of every method, so that none is forgotten or left over.

    Raises:
        AssertionError: It does not. That is a mistake in the farm, and is found before anything listens.
    """
    for service in services:
        methods = {method.name for method in service.methods}
        stated = set(PERMISSIONS.get(service.full_name, {}))
        assert methods == stated, f"{service.full_name}: permissions and methods differ by {methods ^ stated}"
