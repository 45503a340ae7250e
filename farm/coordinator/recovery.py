"""Brings the farm back from its journal: what was learned, every event of what is live, and jobs that have ended."""

import logging
import time

from farm.coordinator import learned
from farm.coordinator.clock import Clock
from farm.coordinator.journal_reader import JobRow
from farm.coordinator.storage import Storage
from farm.scheduler import events as ev
from farm.scheduler.ranges import RangeSet
from farm.scheduler.state import FarmState
from farm.scheduler.transitions import apply

log = logging.getLogger(__name__)


async def recover(storage: Storage, clock: Clock) -> FarmState:
    """The state as it was confirmed, every lease renewed."""
    started = time.monotonic()
    state = learned.decode(await storage.read(storage.reader.kept, learned.NAME))
    for event in await storage.read(lambda: list(storage.reader.replay())):
        apply(state, event)
    apply(state, ev.ClockJumped(clock.now()))
    log.info("coordinator.replayed jobs=%d seconds=%.3f", len(state.jobs), time.monotonic() - started)
    return state


def reopened(row: JobRow, pending: RangeSet, now: float) -> ev.JobOpened:
    """A job that has ended comes to life again, with these images to render."""
    return ev.JobOpened(
        job_id=row.job_id,
        time=now,
        spec=row.spec,
        submitter=row.submitter,
        priority=row.priority,
        image_count=row.image_count,
        pending=tuple(pending.ranges()),
        succeeded_count=row.image_count - len(pending),
        next_attempt_number=row.next_attempt_number,
        create_time=row.create_time,
        evaluations=row.evaluations,
    )
