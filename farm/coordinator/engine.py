"""What carries assignments to workers and their reports back: the protocol, and the engine for this machine alone."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from farm.domain import Assignment, AttemptKey, WorkerFacts
from farm.renderer import Renderer
from farm.reports import Report

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Joined:
    """A worker is there, holding these attempts."""

    worker_id: str
    facts: WorkerFacts
    attempts: frozenset[AttemptKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Left:
    """A worker is gone for certain."""

    worker_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A worker was heard of."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class Reported:
    """A worker reported on its work.

    Attributes:
        worker_id: The worker.
        report: The report. It may come twice, if a connection broke.
        number: What to acknowledge when the report is on disk or refused, as the worker keeps it until then; None if it
            keeps nothing.
    """

    worker_id: str
    report: Report
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Deaf:
    """The engine itself could not hear workers until now: their silence proves nothing, but for those it `heard`."""

    heard: frozenset[str] = frozenset()


EngineMessage = Joined | Left | Heartbeat | Reported | Deaf
Receive = Callable[[EngineMessage], None]


class Engine(Protocol):
    """Reaches workers. Promises order, not delivery: messages of one worker arrive in the order it sent them in.

    None of the calls waits for a worker, and none of them fails when one is gone: silence ends its lease.
    """

    async def start(self, receive: Receive) -> None:
        """Begins to listen; `receive` is called on the event loop."""

    def assign(self, worker_id: str, assignment: Assignment) -> None:
        """Sends images to be rendered."""

    def cancel(self, worker_id: str, key: AttemptKey) -> None:
        """Tells a worker to stop an attempt at its next step."""

    def release(self, worker_id: str, key: AttemptKey) -> None:
        """Tells a worker to finish the image that it renders and give the rest of the attempt back."""

    def acknowledge(self, worker_id: str, number: int) -> None:
        """Tells a worker that the report of that number need not be kept any more."""

    async def stop(self) -> None:
        """Stops listening, and what it started."""


class LocalEngine:
    """This machine only, one renderer.

    Args:
        renderer: Renders.
        worker_id: The machine's name in the farm.
    """

    def __init__(self, renderer: Renderer, worker_id: str = "local") -> None:
        self._renderer = renderer
        self._worker_id = worker_id
        self._heart: asyncio.Task[None] | None = None

    async def start(self, receive: Receive) -> None:
        """Starts the renderer, and says that it joined."""
        loop = asyncio.get_running_loop()

        def report(report: Report) -> None:
            loop.call_soon_threadsafe(receive, Reported(self._worker_id, report))

        await loop.run_in_executor(None, self._renderer.start, report)
        receive(Joined(self._worker_id, self._renderer.facts))
        self._heart = asyncio.create_task(self._beat(receive))

    async def _beat(self, receive: Receive) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            receive(Heartbeat(self._worker_id))

    def assign(self, worker_id: str, assignment: Assignment) -> None:  # noqa: ARG002 - there is one worker
        """Hands the images to the renderer."""
        self._renderer.render(assignment)

    def cancel(self, worker_id: str, key: AttemptKey) -> None:  # noqa: ARG002 - there is one worker
        """Stops the attempt at its next step."""
        self._renderer.cancel(key)

    def release(self, worker_id: str, key: AttemptKey) -> None:  # noqa: ARG002 - there is one worker
        """Stops the attempt after its current image."""
        self._renderer.release(key)

    def acknowledge(self, worker_id: str, number: int) -> None:
        """Does nothing: nothing is kept."""

    async def stop(self) -> None:
        """Stops the renderer."""
        if self._heart:
            self._heart.cancel()
        await asyncio.get_running_loop().run_in_executor(None, self._renderer.stop)
