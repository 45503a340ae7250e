"""Puts a worker together: its folder, its daemon, the socket for bridges and the Ray node."""

import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from farm.carrier.bridge import SOCKET
from farm.carrier.node import check_address
from farm.errors import WorkerFolderError
from farm.reports import Renderer
from farm.worker.daemon import Daemon, Inbox
from farm.worker.line import listen
from farm.worker.messages import Stop
from farm.worker.outbox import Outbox
from farm.worker.raylet import Raylet

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker must know.

    Attributes:
        worker_id: The machine's name in the farm; no two may have the same.
        folder: What it keeps; one worker a folder.
        ray_address: Where Ray's head listens, HOST:PORT.
        environment: Variables for Ray's processes: its token and TLS files.
    """

    worker_id: str
    folder: Path
    ray_address: str
    environment: Mapping[str, str] = field(default_factory=dict)


def run_worker(settings: WorkerSettings, renderer: Renderer, inbox: Inbox) -> None:
    """Works until a `Stop` is put into `inbox`; then stops in order.

    Raises:
        AddressError: The address is beyond loopback, or none.
        WorkerFolderError: The folder cannot be used, or another worker uses it.
    """
    check_address(settings.ray_address)
    with _locked(settings.folder):
        outbox = _outbox(settings.folder / "outbox")
        # Paths of sockets must be short (104 bytes on macOS), and a worker's folder may be deep.
        doorstep = Path(tempfile.mkdtemp(prefix="farm-"))
        try:
            daemon = Daemon(settings.worker_id, renderer, outbox, inbox)
            with listen(doorstep / "daemon", inbox.put):
                environment = {**settings.environment, SOCKET: str(doorstep / "daemon")}
                raylet = Raylet(settings.ray_address, environment, lambda: daemon.has_bridge)
                raylet.start()
                _log.info("worker.started id=%s folder=%s", settings.worker_id, settings.folder)
                try:
                    daemon.run()
                finally:
                    raylet.stop()
        finally:
            shutil.rmtree(doorstep, ignore_errors=True)


def stop_worker(inbox: Inbox) -> None:
    """Has `run_worker` return; may be called from a signal handler or another thread."""
    inbox.put(Stop())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / "lock", blocking=False)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise WorkerFolderError(
            f"Another worker uses the folder {folder}. Stop it, or give this one another folder with --folder."
        ) from error
    except OSError as error:
        raise WorkerFolderError(
            f"The worker's folder {folder} cannot be used ({error.strerror}). Name another with --folder."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _outbox(folder: Path) -> Outbox:
    try:
        return Outbox(folder)
    except OSError as error:
        raise WorkerFolderError(
            f"The outbox in {folder} cannot be read ({error.strerror}). Mend the folder's rights, or name another with "
            "--folder; images in it that nobody took are rendered again."
        ) from error
