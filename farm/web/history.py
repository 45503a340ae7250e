"""What the page shows of the past: who rendered what and when, how many images a minute, where the time went.

It is made of events as they happen and, after a restart, of the newest commits in the journal. All of it is bounded.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from farm.coordinator.coordinator import Coordinator
from farm.domain import AttemptKey, ChipClass
from farm.reports import Stage
from farm.scheduler import events as ev

REMEMBERED_COMMITS = 5000
"""Commits that are read from the journal at the start."""

MAX_BARS = 5000
MINUTES = 24 * 60
RECENT = 30

IDLE = "idle"

_SILENT = (ev.WorkerSeen, ev.Planned, ev.VariantMeasured)
"""Events after which the page looks as before."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A run of images of one attempt on one worker: `start` and `end` in seconds since the epoch."""

    worker_id: str
    job_id: str
    chip_class: ChipClass
    start: float
    end: float
    images: int


@dataclass(frozen=True, slots=True)
class Shot:
    """An image that was committed."""

    job_id: str
    index: int
    number: int
    worker_id: str
    time: float


@dataclass(slots=True)
class Clock:
    """Where a worker's time went: seconds by stage, and the stage that it is in since `since`."""

    seconds: dict[str, float]
    stage: str
    since: float

    def turn(self, stage: str, now: float) -> None:
        """Books the time until now, and begins another stage."""
        self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + max(0.0, now - self.since)
        self.stage, self.since = stage, now


class History:
    """Remembers; observes the coordinator's loop.

    Attributes:
        touched: Set when something happened that the page shows.
        bars: Who rendered what, by job and attempt; the oldest first.
        minutes: Images committed in each minute since the epoch, by class of chip.
        recent: The newest images, the oldest of them first.
        latest: Each worker's newest image.
        since: When each worker's state changed last.
        job_changes: Counts jobs that were opened or have ended.
    """

    def __init__(self) -> None:
        self.touched = asyncio.Event()
        self.bars: dict[tuple[str, int], Bar] = {}
        self.minutes: dict[int, dict[ChipClass, int]] = {}
        self.recent: deque[Shot] = deque(maxlen=RECENT)
        self.latest: dict[str, Shot] = {}
        self.since: dict[str, float] = {}
        self.job_changes = 0
        self._clocks: dict[str, Clock] = {}
        self._workers: dict[AttemptKey, str] = {}
        self._now = 0.0

    async def follow(self, coordinator: Coordinator) -> None:
        """Recalls the newest commits, looks at what is there, and observes from now on."""
        for commit in await coordinator.gallery.newest(REMEMBERED_COMMITS):
            self._committed(commit)
        view = await coordinator.farm(0)
        for worker in view.workers:
            self.since[worker.worker_id] = worker.last_seen_time
            self._clocks[worker.worker_id] = Clock({}, IDLE, coordinator.now())
        for worker_id, progress in view.rendering.items():
            self._workers[AttemptKey(progress.job_id, progress.attempt_number)] = worker_id
        coordinator.observe(lambda happened: self.observe([event for _, event in happened], coordinator.now()))

    def observe(self, events: Sequence[ev.Event], now: float) -> None:
        """Takes in what happened at `now`."""
        self._now = now
        for event in events:
            self._take_in(event)
            if not isinstance(event, _SILENT):
                self.touched.set()

    def seconds_by_stage(self, worker_id: str, now: float) -> dict[str, float]:
        """Where a worker's time went since it joined or this coordinator started."""
        clock = self._clocks.get(worker_id)
        if clock is None:
            return {}
        return {**clock.seconds, clock.stage: clock.seconds.get(clock.stage, 0.0) + max(0.0, now - clock.since)}

    def _take_in(self, event: ev.Event) -> None:
        match event:
            case ev.ImageCommitted():
                self._committed(event)
            case ev.StageBegun(key, stage):
                self._stage_begun(key, stage)
            case ev.AttemptStarted():
                self._workers[AttemptKey(event.job_id, event.number)] = event.worker_id
            case ev.AttemptEnded():
                self._attempt_ended(AttemptKey(event.job_id, event.number))
            case ev.JobOpened() | ev.JobEnded():
                self.job_changes += 1
            case ev.WorkerJoined():
                self.since[event.worker_id] = event.time
                self._clocks[event.worker_id] = Clock({}, IDLE, self._now)
                self._workers.update(dict.fromkeys(event.attempts, event.worker_id))
            case ev.WorkerLeft():
                self.since[event.worker_id] = event.time
                self._clocks.pop(event.worker_id, None)
            case ev.WorkerDrained() | ev.WorkerUndrained() | ev.WorkerSuspended():
                self.since[event.worker_id] = event.time

    def _committed(self, event: ev.ImageCommitted) -> None:
        chip_class = event.provenance.chip_class
        minute = self.minutes.setdefault(int(event.time // 60), {})
        minute[chip_class] = minute.get(chip_class, 0) + 1
        while len(self.minutes) > MINUTES:
            del self.minutes[min(self.minutes)]
        shot = Shot(event.job_id, event.index, event.number, event.worker_id, event.time)
        self.recent.append(shot)
        self.latest[event.worker_id] = shot
        key, start = (event.job_id, event.number), event.time - event.render_seconds
        bar = self.bars.pop(key, None) or Bar(event.worker_id, event.job_id, chip_class, start, event.time, 0)
        self.bars[key] = replace(bar, end=event.time, images=bar.images + 1)
        while len(self.bars) > MAX_BARS:
            del self.bars[next(iter(self.bars))]

    def _stage_begun(self, key: AttemptKey, stage: Stage) -> None:
        clock = self._clocks.get(self._workers.get(key, ""))
        if clock is not None:
            clock.turn(stage.value, self._now)

    def _attempt_ended(self, key: AttemptKey) -> None:
        worker_id = self._workers.pop(key, "")
        if worker_id in self._clocks and worker_id not in self._workers.values():
            self._clocks[worker_id].turn(IDLE, self._now)
