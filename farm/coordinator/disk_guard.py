"""Keeps the disk from running full: pauses all jobs while room is short, and resumes them when there is some again.

A disk that another program fills at once leaves the journal its reserve (`reserve.py`): the pause is written with that,
and the reserve is made anew before the jobs go on.
"""

import asyncio
from collections.abc import Iterator
from functools import partial

from farm.coordinator.loop import Loop
from farm.coordinator.storage import Storage
from farm.domain import JobState
from farm.scheduler import events as ev
from farm.scheduler.state import FarmState

PERIOD_SECONDS = 2.0

RESERVE_BYTES = 256 << 20
"""Room that is left alone: enough for the journal, the system and a person who wants to look around."""

RESERVE_SHARE = 1 / 20
"""On a small disk the reserve is this part of it."""


class DiskGuard:
    """Looks at the disk of the images every few seconds.

    Args:
        loop: Pauses and resumes.
        storage: Knows the disk.
    """

    def __init__(self, loop: Loop, storage: Storage) -> None:
        self._loop = loop
        self._storage = storage

    async def run(self) -> None:
        """Guards until cancelled."""
        while True:
            if (shortage := self.shortage()) is not None:
                await self._loop.post(partial(_pause, reason=shortage))
            elif self.has_room_again():
                if not self._storage.journal.reserve.is_held:
                    await self._storage.write(self._storage.journal.reserve.hold)
                await self._loop.post(_resume)
            await asyncio.sleep(PERIOD_SECONDS)

    def shortage(self) -> str | None:
        """Why nothing more may be written, or None."""
        free, reserve = self._room()
        if free >= reserve:
            return None
        return (
            f"The disk of the farm's images is nearly full: {free >> 20} MB are free, and {reserve >> 20} MB are kept. "
            "Make room, for example by deleting jobs that have been pulled; then it resumes by itself."
        )

    def has_room_again(self) -> bool:
        """Whether there is so much room that going on does not end at once."""
        free, reserve = self._room()
        return free >= 1.2 * reserve

    def _room(self) -> tuple[int, int]:
        free, total = self._storage.artifacts.room()
        return free, min(RESERVE_BYTES, int(total * RESERVE_SHARE))


def _pause(state: FarmState, now: float, reason: str) -> Iterator[ev.Event]:
    for job in list(state.jobs.values()):
        if job.state in (JobState.PENDING, JobState.RUNNING):
            yield ev.JobPaused(job.job_id, now, reason, waits_for_room=True)


def _resume(state: FarmState, now: float) -> Iterator[ev.Event]:
    for job in list(state.jobs.values()):
        if job.waits_for_room:
            yield ev.JobResumed(job.job_id, now)
