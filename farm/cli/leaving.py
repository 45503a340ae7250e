"""How this machine ceases to be a worker of its farm, also if the farm cannot be reached any more."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from farm.access.client_access import find_client_access
from farm.cli.service import is_installed, uninstall, worker_service
from farm.connection import Connection
from farm.errors import FarmError, MembershipError, WorkerFolderError
from farm.v1 import access_service_pb2, worker_pb2, worker_service_pb2
from farm.worker.membership import Membership, MembershipFolder
from farm.worker.service import locked

_STOP_SECONDS = 30.0
"""For a worker that was told to stop."""

_LOOK_SECONDS = 0.5


def leave_farm(folder: Path, *, now: bool) -> str:
    """Ends this machine's membership; returns what came of it, in words.

    Args:
        folder: What the worker keeps.
        now: Whether what is being rendered is given back rather than finished.

    Raises:
        MembershipError: This machine is no member.
        ServiceError: Its service cannot be removed.
        WorkerFolderError: Its worker runs in a terminal, and nobody stopped it.
    """
    memberships = MembershipFolder(folder)
    service = worker_service(folder.absolute())
    if not is_installed(service):
        with _unused(folder, 0.0):  # or else nothing is begun
            pass
    try:
        membership = memberships.load()
    except MembershipError:
        if not memberships.exists():
            raise
        uninstall(service)
        memberships.remove()
        return "This machine has left its farm, whose name cannot be read any more. Its owner should revoke its rights."
    if not now:
        with suppress(FarmError), closing(_connect(memberships, membership)) as farm:
            finish(farm, _name(membership))
    uninstall(service)
    with _unused(folder, _STOP_SECONDS):
        end = _give_rights_back(memberships, membership)
        memberships.remove()
    return f'This machine has left the farm at {membership.farm_address}, where it was "{membership.worker_id}". {end}'


def _name(membership: Membership) -> str:
    return f"workers/{membership.worker_id}"


def _connect(memberships: MembershipFolder, membership: Membership) -> Connection:
    """A connection to the farm, with the worker's own token."""
    token = memberships.load_secrets().worker_token
    return Connection(find_client_access(membership.farm_address, token, membership.ca), patience_seconds=0.0)


def finish(farm: Connection, name: str) -> None:
    """Drains a worker and waits until it has finished what it has, if it works at all.

    Raises:
        FarmError: It never came to work there, or the farm is gone: then nothing is to be waited for.
    """
    worker: worker_pb2.Worker = farm.call(farm.workers.GetWorker, worker_service_pb2.GetWorkerRequest(name=name))
    if worker.state != worker_pb2.WORKER_STATE_ACTIVE:
        return
    worker = farm.call(farm.workers.DrainWorker, worker_service_pb2.DrainWorkerRequest(name=name))
    while worker.current_attempt:
        time.sleep(_LOOK_SECONDS)
        worker = farm.call(farm.workers.GetWorker, worker_service_pb2.GetWorkerRequest(name=name))


def _give_rights_back(memberships: MembershipFolder, membership: Membership) -> str:
    """Revokes this worker's token, and lets its name work again for whoever has it next; says what came of it."""
    try:
        with closing(_connect(memberships, membership)) as farm:
            with suppress(FarmError):  # it never came to work there
                farm.call(farm.workers.ResumeWorker, worker_service_pb2.ResumeWorkerRequest(name=_name(membership)))
            farm.call(farm.access.RevokeToken, access_service_pb2.RevokeTokenRequest(name=membership.token_name))
    except FarmError as error:
        return (
            f"The farm could not be told: {error.message} Its owner should revoke this machine's rights: "
            f"farm token revoke {membership.token_name.removeprefix('tokens/')}"
        )
    return "Its rights there are revoked."


@contextmanager
def _unused(folder: Path, seconds: float) -> Iterator[None]:
    """Keeps every worker out of the folder, after so long at most for one that is ending."""
    try:
        with locked(folder, seconds):
            yield
    except WorkerFolderError as error:
        raise WorkerFolderError(
            f"The worker of this machine still runs in a terminal, or its folder {folder} cannot be used. Stop it with "
            "Ctrl-C, then leave again."
        ) from error
