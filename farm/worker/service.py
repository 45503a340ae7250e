"""Puts a worker together: its folder, its daemon, the socket for bridges and the Ray node."""

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from farm.carrier.bridge import SOCKET
from farm.carrier.node import check_address, is_on_loopback, own_ip, ray_environment
from farm.carrier.security import RaySecurity, scrape_token
from farm.errors import UnreachableError, WorkerFolderError
from farm.metrics import BOTH, CERTIFICATE_EXPIRY, WORKER, WORKER_CONNECTED, WORKER_OUTBOX, Meters, measure_process
from farm.renderer import Renderer
from farm.scratch import SHORT, scratch_folder
from farm.worker.bridge_socket import listen
from farm.worker.daemon import Daemon, Inbox
from farm.worker.messages import Stop
from farm.worker.metering import MeteredRenderer
from farm.worker.metrics_server import MetricsAccess, serve_metrics
from farm.worker.outbox import Outbox
from farm.worker.raylet import Raylet

METRICS_PORT = 7436

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - not without TLS and a token

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker must know.

    Attributes:
        worker_id: The machine's name in the farm; no two may have the same.
        folder: What it keeps; one worker a folder.
        ray_address: Where Ray's head listens, HOST:PORT.
        security: How Ray's processes know each other.
        prepare: Called with this machine's address before each start of a Ray node, as of `Raylet`.
        find_ray: Asks the farm where Ray's head listens now, HOST:PORT; empty if that is not known.
        metrics_listen: Where to serve metrics, "host:port"; empty for where Ray is reached: on any free port of
            loopback, or on `METRICS_PORT` of every address, and on any free port if that one is taken.
        certificate_expiry: Says when its certificate ends, in seconds since the epoch; 0 if it has none.
    """

    worker_id: str
    folder: Path
    ray_address: str
    security: RaySecurity
    prepare: Callable[[str], None] = lambda _: None
    find_ray: Callable[[], str] = lambda: ""
    metrics_listen: str = ""
    certificate_expiry: Callable[[], float] = lambda: 0.0

    def metrics_address(self) -> str:
        """Where it serves its metrics."""
        if self.metrics_listen:
            return self.metrics_listen
        return "127.0.0.1:0" if is_on_loopback(self.ray_address) else f"{EVERY_ADDRESS}:{METRICS_PORT}"

    def metrics_access(self) -> MetricsAccess | None:
        """What guards them beyond loopback; None for a worker without a certificate."""
        if self.security.tls is None:
            return None
        return MetricsAccess(self.security.tls, scrape_token(self.security.token.read_text()))


def run_worker(settings: WorkerSettings, renderer: Renderer, inbox: Inbox) -> None:
    """Works until a `Stop` is put into `inbox`; then stops in order.

    Raises:
        AddressError: Ray would be open to others there, or it is no address.
        WorkerFolderError: The folder cannot be used, or another worker uses it.
        WorkerNameTakenError: Another worker has this one's name.
        VersionMismatchError: The coordinator runs another version of the farm.
        UnreachableError: Ray's head has moved, and the worker must be started anew to follow it.
    """
    check_address(settings.ray_address, settings.security)
    with locked(settings.folder), scratch_folder("farm-worker", SHORT) as socket_folder:
        outbox = _outbox(settings.folder / "outbox")
        meters = Meters((*BOTH, *WORKER))
        address = settings.metrics_address()
        with (
            serve_metrics(address, meters, settings.metrics_access(), or_any_port=not settings.metrics_listen) as port,
            listen(socket_folder / "daemon", inbox.put),
        ):
            reached = partial(_reached, address.rpartition(":")[0], port, settings.ray_address)
            metered = MeteredRenderer(renderer, meters, reached)
            daemon = Daemon(settings.worker_id, _origin(settings.folder), metered, outbox, inbox)
            meters.before_each(partial(_measure, meters, settings, daemon, outbox))
            environment = {
                **ray_environment(settings.ray_address, settings.security),
                SOCKET: str(socket_folder / "daemon"),
            }
            moved_to: list[str] = []  # where Ray's head is now, if it is elsewhere

            def seek() -> None:
                if (found := settings.find_ray()) not in ("", settings.ray_address):
                    moved_to.append(found)
                    stop_worker(inbox)

            raylet = Raylet(settings.ray_address, environment, lambda: daemon.has_bridge, settings.prepare, seek)
            raylet.start()
            _log.info("worker.started id=%s folder=%s metrics=%s", settings.worker_id, settings.folder, reached())
            try:
                daemon.run()
            finally:
                raylet.stop()
            if moved_to:
                raise UnreachableError(
                    f"Ray's head has moved from {settings.ray_address} to {moved_to[-1]}. A worker that runs as a "
                    "service is started anew by it, and goes there; start any other again with `farm worker run`.",
                    address=moved_to[-1],
                )


def stop_worker(inbox: Inbox) -> None:
    """Has `run_worker` return; may be called from a signal handler or another thread."""
    inbox.put(Stop())


@contextmanager
def locked(folder: Path, seconds: float = 0.0) -> Iterator[None]:
    """Keeps every other worker from a folder.

    Args:
        folder: What the worker keeps; made if it is not there.
        seconds: How long to wait for one that is ending.

    Raises:
        WorkerFolderError: The folder cannot be used, or another worker uses it.
    """
    lock = FileLock(folder / "lock", timeout=seconds)
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


def _measure(meters: Meters, settings: WorkerSettings, daemon: Daemon, outbox: Outbox) -> None:
    measure_process(meters, settings.folder)
    meters.set(WORKER_OUTBOX, outbox.count)
    meters.set(WORKER_CONNECTED, daemon.has_bridge)
    if ends := settings.certificate_expiry():
        meters.set(CERTIFICATE_EXPIRY, ends)


def _reached(host: str, port: int, ray_address: str) -> str:
    """Where the metrics are, for the farm; empty if there is no way."""
    if host != EVERY_ADDRESS:
        return f"{host}:{port}"
    try:
        return f"{own_ip(ray_address)}:{port}"
    except OSError:
        return ""


def _origin(folder: Path) -> str:
    """The identity of a folder, made the first time. A worker that starts again in its folder is the same one."""
    path = folder / "origin"
    if not path.exists():
        path.write_text(secrets.token_hex(8))
    return path.read_text()


def _outbox(folder: Path) -> Outbox:
    try:
        return Outbox(folder)
    except OSError as error:
        raise WorkerFolderError(
            f"The outbox in {folder} cannot be read ({error.strerror}). Correct its permissions, or name another "
            "with --folder; images that were not delivered are rendered again."
        ) from error
