"""Engines with real workers behind them, for tests that hold every engine to the same promises."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from farm.carrier.security import RaySecurity, ray_token
from farm.cli.local_fleet import free_ray_address
from farm.coordinator.engine import Engine, EngineMessage, Joined, LocalEngine, Reported
from farm.coordinator.ray_engine import RayEngine, RaySettings
from farm.domain import AttemptKey
from farm.reports import AttemptReport, ImageReport, Report
from farm.worker.daemon import Inbox
from farm.worker.null_renderer import NullRenderer
from farm.worker.service import WorkerSettings, run_worker, stop_worker
from tests.ray.fleet import PATIENCE

SECONDS_PER_IMAGE = 0.2

Message = TypeVar("Message", bound=EngineMessage)


class Rig:
    """An engine on an event loop of its own; keeps every message that comes, and when.

    Reports that their worker keeps are acknowledged, as the coordinator does when they are on disk.
    """

    def __init__(
        self,
        engine: Engine,
        workers: tuple[str, ...],
        settings: Callable[[str], WorkerSettings] | None = None,
    ) -> None:
        self.engine = engine
        self.workers = workers
        self.settings = settings
        """How a further worker of a name reaches the engine; None if none can."""
        self.messages: list[EngineMessage] = []
        self.arrived: list[float] = []
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(engine.start(self._receive), self._loop).result(PATIENCE)
        self._is_stopped = False

    def _receive(self, message: EngineMessage) -> None:
        with self._changed:
            self.messages.append(message)
            self.arrived.append(time.monotonic())
            self._changed.notify_all()
        if isinstance(message, Reported) and message.number is not None:
            self.engine.acknowledge(message.worker_id, message.number)

    def call(self, function: Callable[..., None], *arguments: object) -> None:
        """Calls a method of the engine on its loop."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def wait_for(
        self, kind: type[Message], holds: Callable[[Message], object] = lambda _: True, after: int = 0
    ) -> Message:
        """The first message of a kind for which something holds, from position `after` on."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            while True:
                for message in self.messages[after:]:
                    if isinstance(message, kind) and holds(message):
                        return message
                if not self._changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f"no such {kind.__name__} among {self.messages[-20:]}")

    def end_of(self, key: AttemptKey) -> AttemptReport:
        """Waits for the end of an attempt."""
        reported = self.wait_for(Reported, lambda m: isinstance(m.report, AttemptReport) and m.report.key == key)
        assert isinstance(reported.report, AttemptReport)
        return reported.report

    def reports_of(self, key: AttemptKey) -> list[Report]:
        """Everything that was reported of an attempt, in order."""
        reports = [message.report for message in list(self.messages) if isinstance(message, Reported)]
        return [report for report in reports if getattr(report, "key", None) == key]

    def images_of(self, key: AttemptKey) -> list[ImageReport]:
        """The images of an attempt, in order."""
        return [report for report in self.reports_of(key) if isinstance(report, ImageReport)]

    def stop(self) -> None:
        """Stops the engine, once."""
        if not self._is_stopped:
            self._is_stopped = True
            asyncio.run_coroutine_threadsafe(self.engine.stop(), self._loop).result(PATIENCE)

    def close(self) -> None:
        """Stops the engine and its loop."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def local_rig(_: Path) -> Iterator[Rig]:
    """LocalEngine over a renderer of squares."""
    rig = Rig(LocalEngine(renderer(), "local"), ("local",))
    try:
        yield rig
    finally:
        rig.close()


@contextmanager
def ray_rig(folder: Path) -> Iterator[Rig]:
    """RayEngine with two workers; their daemons are threads of this process, Ray's nodes are real."""
    address = free_ray_address()
    security = RaySecurity(ray_token(folder))

    def settings(name: str) -> WorkerSettings:
        return WorkerSettings(name, folder / name, address, security)

    rig = Rig(RayEngine(RaySettings(address, security)), ("one", "two"), settings)
    try:
        with ExitStack() as workers:
            for name in rig.workers:
                workers.enter_context(worker(settings(name)))
            yield rig
    finally:
        rig.close()


@contextmanager
def worker(settings: WorkerSettings) -> Iterator[None]:
    """Runs a worker on a thread until the block ends."""
    inbox: Inbox = SimpleQueue()
    thread = threading.Thread(target=run_worker, args=(settings, renderer(), inbox), name=settings.worker_id)
    thread.start()
    try:
        yield
    finally:
        stop_worker(inbox)
        thread.join()


def renderer() -> NullRenderer:
    return NullRenderer(seconds_per_image=SECONDS_PER_IMAGE, report_steps=True)


def joined(rig: Rig) -> list[Joined]:
    """Waits until every worker has joined."""
    return [rig.wait_for(Joined, lambda m, name=name: m.worker_id == name) for name in rig.workers]  # type: ignore[misc]  # mypy does not infer a lambda's default
