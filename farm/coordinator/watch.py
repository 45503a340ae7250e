"""Follows a job: a snapshot, then images as they are settled, attempts, progress; ends with the job.

Only image events move `sequence`, which is where a reader who lost the connection goes on: they come from the journal,
so none is ever missed. The rest is told as it is when the reader gets round to it. All that is pushed to a reader is
"look again", so a slow one costs nothing.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from farm.coordinator import viewer
from farm.coordinator.loop import Happened, Loop
from farm.coordinator.storage import Storage
from farm.coordinator.views import AttemptView, JobView, ProgressView, WatchEvent
from farm.domain import ImageState
from farm.scheduler import events as ev

PACE_SECONDS = 0.1
"""A reader is told at most so often, however much happens; but of the job's end at once."""

PROGRESS_SECONDS = 0.5
"""An attempt's progress is told at most so often."""

PAGE = 500

MAX_ATTEMPTS = 1000
"""Attempts that are kept for a watcher who does not read; beyond it the oldest are left out."""


@dataclass(eq=False, slots=True)
class Subscription:
    """What a watcher of one job is told.

    Attributes:
        changed: Set when there is something to look at.
        ended: Set when the job has ended, which nobody should wait for.
        attempts: Attempts that began or ended, and results that were refused.
    """

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    attempts: deque[AttemptView] = field(default_factory=lambda: deque(maxlen=MAX_ATTEMPTS))


class Subscriptions:
    """Knows who watches what; observes the loop."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[Subscription]] = {}

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[Subscription]:
        """Tells of a job until the context ends."""
        subscription = Subscription()
        self._watchers.setdefault(job_id, set()).add(subscription)
        try:
            yield subscription
        finally:
            watchers = self._watchers[job_id]
            watchers.discard(subscription)
            if not watchers:
                del self._watchers[job_id]

    def publish(self, happened: Sequence[Happened]) -> None:
        """Tells the watchers of each job that was touched."""
        for _, event in happened:
            attempt = viewer.attempt_view(event)
            for subscription in self._watchers.get(_job_id(event) or "", ()):
                subscription.changed.set()
                if isinstance(event, ev.JobEnded):
                    subscription.ended.set()
                if attempt is not None:
                    subscription.attempts.append(attempt)


class Jobs(Protocol):
    """What gives a job's view."""

    async def job(self, job_id: str) -> JobView:
        """The job as it is now."""


async def watch(
    jobs: Jobs, job_id: str, after_sequence: int | None, subscriptions: Subscriptions, loop: Loop, storage: Storage
) -> AsyncIterator[WatchEvent]:
    """Yields what happens to a job.

    Args:
        jobs: Gives the job's view.
        job_id: The job.
        after_sequence: Sequence of the last image event seen; None for only what happens from now on.
        subscriptions: Says when to look.
        loop: Gives the state.
        storage: Gives the images.
    """
    with subscriptions.subscribe(job_id) as subscription:
        async with loop.reading() as (_, newest):
            last = newest if after_sequence is None else after_sequence
        view = await jobs.job(job_id)
        told_progress, progress = loop.now(), dict[int, ProgressView]()
        yield WatchEvent(last, loop.now(), view)
        while True:
            subscription.changed.clear()
            latest = await jobs.job(job_id)
            while rows := await storage.read(storage.reader.settled_since, job_id, last, PAGE):
                for row in rows:
                    assert row.result is not None
                    image = viewer.image_view(job_id, latest.spec, row, ImageState.RUNNING)
                    last = row.sequence
                    yield WatchEvent(last, row.result.time, image)
            async with loop.reading() as (state, _):
                live = state.jobs.get(job_id)
                moving = [viewer.progress_view(attempt) for attempt in live.attempts.values()] if live else []
            now = loop.now()
            while subscription.attempts:
                yield WatchEvent(last, now, subscription.attempts.popleft())
            if now - told_progress >= PROGRESS_SECONDS:
                told_progress = now
                for step in moving:
                    if progress.get(step.attempt_number) != step:
                        yield WatchEvent(last, now, step)
                progress = {step.attempt_number: step for step in moving}
            if latest != view or latest.state.is_final:
                view = latest
                yield WatchEvent(last, now, view)
            if view.state.is_final:
                return
            await subscription.changed.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(PACE_SECONDS):
                    await subscription.ended.wait()


def _job_id(event: ev.Event) -> str | None:
    if isinstance(event, ev.StageBegun | ev.StepDone):
        return event.key.job_id
    return getattr(event, "job_id", None)
