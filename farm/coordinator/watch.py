"""Follows a job: a snapshot, then images as they are settled, attempts, progress; ends with the job.

Only image events move `sequence`, which is where a reader who lost the connection goes on: they come from the journal,
so none is ever missed. The rest is told as it is when the reader gets round to it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Protocol

from farm.coordinator import viewer
from farm.coordinator.bulletin import Bulletin
from farm.coordinator.loop import Loop
from farm.coordinator.storage import Storage
from farm.coordinator.views import JobView, ProgressView, WatchEvent
from farm.domain import ImageState

PACE_SECONDS = 0.1
"""A reader is told at most so often, however much happens; but of the job's end at once."""

PROGRESS_SECONDS = 0.5
"""An attempt's progress is told at most so often."""

PAGE = 500


class Jobs(Protocol):
    """What gives a job's view."""

    async def job(self, job_id: str) -> JobView:
        """The job as it is now."""


async def watch(
    jobs: Jobs, job_id: str, after_sequence: int | None, bulletin: Bulletin, loop: Loop, storage: Storage
) -> AsyncIterator[WatchEvent]:
    """Yields what happens to a job.

    Args:
        jobs: Gives the job's view.
        job_id: The job.
        after_sequence: Sequence of the last image event seen; None for only what happens from now on.
        bulletin: Says when to look.
        loop: Gives the state.
        storage: Gives the images.
    """
    with bulletin.subscribe(job_id) as news:
        async with loop.reading() as (_, newest):
            last = newest if after_sequence is None else after_sequence
        view = await jobs.job(job_id)
        told_progress, progress = loop.now(), dict[int, ProgressView]()
        yield WatchEvent(last, loop.now(), view)
        while True:
            news.changed.clear()
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
            while news.attempts:
                yield WatchEvent(last, now, news.attempts.popleft())
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
            await news.changed.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(PACE_SECONDS):
                    await news.ended.wait()
