"""The coordinator's loop: the only writer of the state.

A turn takes all that has come in, applies each in the order in which it came, lets `decide` add what follows, writes
the lot to the journal in one transaction on another thread, and only then tells anybody: callers get their answer,
observers see the events. What was refused changes nothing and is told to its caller alone.

Applying before journalling lets an event be judged by the state that the events before it made, also within one turn,
so the journal holds accepted facts only. It is safe because nobody can see the state until the turn is on disk: readers
wait for the end of the turn, and if the journal cannot be written the process ends, as after a crash.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

from farm.coordinator.clock import Clock
from farm.coordinator.journal import Journal, Sequenced
from farm.errors import DiskFullError, FarmError, JournalError
from farm.scheduler import events as ev
from farm.scheduler.scheduler import decide, next_deadline
from farm.scheduler.state import FarmState
from farm.scheduler.transitions import apply

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
"""The loop turns at least so often, so that it notices when it was itself stopped."""

STALL_SECONDS = 3.0
"""A pause between two turns that is longer than this was the coordinator's, and says nothing about its workers."""

Change = Callable[[FarmState, float], Iterable[ev.Event]]
"""Says, from the state and the time, which events are to happen; raises a FarmError to refuse. Each event is applied
before the next is asked for."""

Happened = tuple[int, ev.Event]
"""An event that happened, and its sequence (a volatile one repeats that of the durable one before it)."""

Observer = Callable[[Sequence[Happened]], None]
"""Is told, after each turn, what happened in it."""


@dataclass(frozen=True, slots=True)
class _Posted:
    change: Change
    answer: asyncio.Future[list[Happened]]


class Loop:
    """Applies changes one after another and makes them durable.

    Args:
        state: As a replay of the journal gave it.
        sequence: Of the newest event in the journal.
        journal: Where durable events go.
        writer: The journal's thread.
        clock: Stamps events.
        on_commit: Told how many seconds each transaction of the journal took.
    """

    def __init__(
        self,
        state: FarmState,
        sequence: int,
        journal: Journal,
        writer: ThreadPoolExecutor,
        clock: Clock,
        on_commit: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._state = state
        self._sequence = sequence
        self._journal = journal
        self._writer = writer
        self._clock = clock
        self._on_commit = on_commit
        self._inbox: asyncio.Queue[_Posted] = asyncio.Queue()
        self._turning = asyncio.Lock()
        self._observers: list[Observer] = []
        self._last_turn = clock.now()

    def now(self) -> float:
        """Seconds since the epoch, by the clock that stamps events."""
        return self._clock.now()

    def observe(self, observer: Observer) -> None:
        """Has `observer` told of everything that happens from now on."""
        self._observers.append(observer)

    def post(self, change: Change) -> asyncio.Future[list[Happened]]:
        """Asks for a change; the answer comes when it is on disk, or is the error that refused it."""
        answer: asyncio.Future[list[Happened]] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait(_Posted(change, answer))
        return answer

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[tuple[FarmState, int]]:
        """Gives the state, all of which is on disk, and the sequence of its newest event. Must not be kept."""
        async with self._turning:
            yield self._state, self._sequence

    async def run(self) -> None:
        """Turns until cancelled.

        Raises:
            JournalError: The journal could not be written; nothing of the last turn has happened.
        """
        while True:
            posted = await self._next_batch()
            async with self._turning:
                await self._turn(posted)

    async def _next_batch(self) -> list[_Posted]:
        deadline = next_deadline(self._state)
        wait = TICK_SECONDS if deadline is None else min(TICK_SECONDS, max(0.0, deadline - self._clock.now()))
        try:
            # Not wait_for: in Python 3.11 it can swallow a cancellation that comes together with an item.
            async with asyncio.timeout(wait):
                batch = [await self._inbox.get()]
        except TimeoutError:
            return []
        while not self._inbox.empty():
            batch.append(self._inbox.get_nowait())
        return batch

    async def _turn(self, batch: Sequence[_Posted]) -> None:
        happened: list[Happened] = []
        answers: list[tuple[_Posted, list[Happened] | FarmError]] = []
        jumped = self._clock.has_jumped()
        now = self._clock.now()
        if jumped or now - self._last_turn > STALL_SECONDS:
            log.warning("loop.clock_jumped seconds=%.1f", now - self._last_turn)
            happened += self._happen((ev.ClockJumped(now),))
        for posted in batch:
            mine: list[Happened] = []
            try:
                for event in posted.change(self._state, now):
                    mine += self._happen((event,))
            except FarmError as error:
                # A change that was refused half-way has happened as far as it came: each event stands for itself.
                answers.append((posted, error))
            else:
                answers.append((posted, mine))
            happened += mine
        happened += self._happen(decide(self._state, now))
        await self._write([(sequence, event) for sequence, event in happened if isinstance(event, ev.DURABLE)])
        self._last_turn = self._clock.now()
        self._tell(happened, answers)

    def _happen(self, events: Iterable[ev.Event]) -> Iterator[Happened]:
        for event in events:
            apply(self._state, event)
            self._sequence += isinstance(event, ev.DURABLE)
            yield self._sequence, event

    async def _write(self, durable: list[Sequenced]) -> None:
        if not durable:
            return
        try:
            await self._append(durable)
        except Exception as error:
            raise JournalError(
                f"The journal could not be written: {error}. The coordinator stops; nothing that it confirmed is lost. "
                "Make room or repair the disk, and start it again."
            ) from error

    async def _append(self, durable: list[Sequenced]) -> None:
        """Writes; where even the journal's reserve is used up the whole loop waits, as it may not go on before."""
        while True:
            began = time.perf_counter()
            try:
                await asyncio.get_running_loop().run_in_executor(self._writer, self._journal.append, durable)
            except DiskFullError as error:
                log.error("loop.waits_for_room reason=%r", str(error))
                await asyncio.sleep(TICK_SECONDS)
            else:
                self._on_commit(time.perf_counter() - began)
                return

    def _tell(self, happened: list[Happened], answers: list[tuple[_Posted, list[Happened] | FarmError]]) -> None:
        for observer in self._observers:
            observer(happened)
        for posted, answer in answers:
            if posted.answer.cancelled():
                continue
            if isinstance(answer, FarmError):
                posted.answer.set_exception(answer)
            else:
                posted.answer.set_result(answer)
