"""An engine whose workers do what a test says, message by message."""

import asyncio

from farm.coordinator.engine import EngineMessage, Joined, Receive, Reported
from farm.domain import Assignment, AttemptKey, AttemptState
from farm.reports import AttemptReport, ImageReport, Report
from tests.builders import PROVENANCE, png, worker_facts
from tests.waiting import PATIENCE

PNG = png()


class ScriptedEngine:
    """Keeps what it is told, and says what it is made to say."""

    def __init__(self) -> None:
        self.assigned: asyncio.Queue[tuple[str, Assignment]] = asyncio.Queue()
        self.cancelled: list[AttemptKey] = []
        self.released: list[AttemptKey] = []
        self.acknowledged: list[int] = []
        self._receive: Receive | None = None

    async def start(self, receive: Receive) -> None:
        self._receive = receive

    def assign(self, worker_id: str, assignment: Assignment) -> None:
        self.assigned.put_nowait((worker_id, assignment))

    def cancel(self, worker_id: str, key: AttemptKey) -> None:
        self.cancelled.append(key)

    def release(self, worker_id: str, key: AttemptKey) -> None:
        self.released.append(key)

    def acknowledge(self, worker_id: str, number: int) -> None:
        self.acknowledged.append(number)

    async def stop(self) -> None:
        self._receive = None

    def say(self, message: EngineMessage) -> None:
        assert self._receive is not None, "the coordinator is not there"
        self._receive(message)

    def join(self, worker_id: str = "w", *held: AttemptKey) -> None:
        self.say(Joined(worker_id, worker_facts(), frozenset(held)))

    def report(self, report: Report, worker_id: str = "w") -> None:
        self.say(Reported(worker_id, report))

    def finish_image(self, key: AttemptKey, index: int, content: bytes = PNG, worker_id: str = "w") -> None:
        self.report(ImageReport(key, index, content, PROVENANCE, 0.01), worker_id)

    def finish(self, assignment: Assignment, worker_id: str = "w") -> None:
        """Renders a whole assignment; every image's bytes name it."""
        for index, spec in assignment.images:
            self.finish_image(assignment.key, index, png(f"{index} {spec.prompt}"), worker_id)
        self.report(AttemptReport(assignment.key, AttemptState.SUCCEEDED), worker_id)

    async def next_assignment(self) -> Assignment:
        return (await asyncio.wait_for(self.assigned.get(), PATIENCE))[1]

    async def acknowledgements(self, *numbers: int) -> None:
        """Waits until all of these reports were acknowledged."""
        async with asyncio.timeout(PATIENCE):
            while not set(numbers) <= set(self.acknowledged):
                await asyncio.sleep(0.01)

    async def finish_everything(self, worker_id: str = "w") -> None:
        """Renders whatever is assigned, until cancelled."""
        while True:
            self.finish((await self.assigned.get())[1], worker_id)
