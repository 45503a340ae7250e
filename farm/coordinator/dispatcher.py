"""Between the loop and the engine: carries out what was decided, and brings in what workers report.

Going out, it acts only on what is on disk. Coming in, an image is stored before the loop hears of it, and whatever a
worker reports after an image waits behind it: an attempt must not end before its last image counts.
"""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from farm.coordinator.artifacts import ArtifactStore, Stored
from farm.coordinator.engine import Deaf, Engine, EngineMessage, Heartbeat, Joined, Left, Reported
from farm.coordinator.inspection import defect
from farm.coordinator.loop import Change, Happened, Loop
from farm.coordinator.prewarming import Prewarming, is_prewarm
from farm.domain import Assignment, AttemptKey, AttemptState, ImageSpec, JobState, resolve
from farm.errors import RESULT_DEFECTIVE, StaleAttemptError
from farm.reports import AttemptReport, ImageFailureReport, ImageReport
from farm.scheduler import events as ev
from farm.scheduler.scheduler import attempt_ended, judge
from farm.scheduler.state import FarmState
from farm.scheduler.transitions import JOB_TRANSITIONS

log = logging.getLogger(__name__)

BATCH_REPORTS = 256
"""Reports that are stored and posted together at most."""

Outcome = Stored | OSError | str
"""What came of an image file: it was stored, it could not be, or it has a defect."""

ReadEntries = Callable[[str, int, int], Awaitable[list[ImageSpec]]]
"""Reads what images are to be: job id, first index, count."""


class Dispatcher:
    """Drives an engine by what happens in the loop, and the loop by what the engine tells.

    Args:
        loop: The coordinator's loop.
        state: The loop's state, looked at between two turns.
        engine: Reaches the workers.
        artifacts: Takes the images.
        prewarming: Hears of the models that workers load ahead.
        read_entries: Reads the prompts.
    """

    def __init__(
        self,
        loop: Loop,
        state: FarmState,
        engine: Engine,
        artifacts: ArtifactStore,
        prewarming: Prewarming,
        read_entries: ReadEntries,
    ) -> None:
        self._loop = loop
        self._state = state
        self._engine = engine
        self._artifacts = artifacts
        self._prewarming = prewarming
        self._read_entries = read_entries
        self._arrivals: asyncio.Queue[Reported] = asyncio.Queue()
        self._departures: asyncio.Queue[ev.AttemptStarted] = asyncio.Queue()
        # What each worker holds as far as it was told; not durable, as a worker that joins says what it holds.
        self._sent: dict[AttemptKey, str] = {}
        # Images that are on their way to the disk and the journal.
        self._settling: set[tuple[AttemptKey, int]] = set()

    async def run(self) -> None:
        """Carries both ways until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._carry_in())
            tasks.create_task(self._carry_out())

    def act(self, happened: Sequence[Happened]) -> None:
        """Carries out what follows from events that are on disk; observes the loop."""
        for _, event in happened:
            if isinstance(event, ev.AttemptStarted):
                self._departures.put_nowait(event)
            elif isinstance(event, ev.AttemptEnded):
                self._stop_if_sent(AttemptKey(event.job_id, event.number))
            elif isinstance(event, ev.JobCancelled):
                self._for_attempts_of(event.job_id, self._engine.cancel)
            elif isinstance(event, ev.JobPaused):
                self._for_attempts_of(event.job_id, self._engine.release)
            elif isinstance(event, ev.WorkerDrained) and event.now:
                for key in self._state.workers[event.worker_id].attempts:
                    self._engine.cancel(event.worker_id, key)
            elif isinstance(event, ev.WorkerJoined):
                self._fence(event)
        self._prewarming.act()

    def _stop_if_sent(self, key: AttemptKey) -> None:
        worker_id = self._sent.pop(key, None)
        if worker_id is not None:
            self._engine.cancel(worker_id, key)

    def _for_attempts_of(self, job_id: str, tell: Callable[[str, AttemptKey], None]) -> None:
        job = self._state.jobs.get(job_id)
        for attempt in job.attempts.values() if job else ():
            tell(attempt.started.worker_id, attempt.key)

    def _fence(self, event: ev.WorkerJoined) -> None:
        """Stops what a worker that comes back still holds and what is not its any more.

        Of a job that people stopped while it was away, it has not heard.
        """
        tells = {JobState.CANCELLING: self._engine.cancel, JobState.PAUSED: self._engine.release}
        for key in event.attempts:
            if key in self._state.workers[event.worker_id].attempts:
                self._sent[key] = event.worker_id
                if tell := tells.get(self._state.jobs[key.job_id].state):
                    tell(event.worker_id, key)
            elif not is_prewarm(key):
                self._engine.cancel(event.worker_id, key)

    async def _carry_out(self) -> None:
        while True:
            started = await self._departures.get()
            specs = await self._read_entries(started.job_id, started.first_index, started.image_count)
            key = AttemptKey(started.job_id, started.number)
            try:
                attempt = self._state.attempt(key)
            except StaleAttemptError:
                continue  # it was cancelled, or its worker was lost, while its prompts were read
            job = self._state.jobs[started.job_id]
            images = tuple(
                (index, resolve(spec, job.spec.defaults, index))
                for index, spec in enumerate(specs, started.first_index)
                if index in attempt.task.remaining
            )
            if started.task_number != started.number:
                images = images[::-1]  # a second attempt comes from the other end: the two meet where all is done
            self._sent[key] = started.worker_id
            self._engine.assign(
                started.worker_id,
                Assignment(key, job.spec.model, started.model_digest, started.compute_unit, images),
            )

    def receive(self, message: EngineMessage) -> None:
        """Takes what the engine tells; called on the event loop."""
        match message:
            case Joined(worker_id, facts, attempts):
                self._post(lambda _, now: (ev.WorkerJoined(worker_id, now, facts, attempts),))
            case Left(worker_id, reason):
                self._post(lambda _, now: (ev.WorkerLeft(worker_id, now, reason),))
            case Heartbeat(worker_id):
                self._post(lambda _, now: (ev.WorkerSeen(worker_id, now),))
            case Deaf(heard):
                self._post(lambda _, now: (ev.ClockJumped(now, heard),))
            case Reported() if self._prewarming.hear(message):
                self._acknowledge(message)
            case Reported(_, ImageReport() | ImageFailureReport() | AttemptReport()):
                self._arrivals.put_nowait(message)
            case Reported(worker_id, report):
                self._post(partial(judge, worker_id=worker_id, report=report))

    def _post(
        self, change: Change, refused: Callable[[], None] = lambda: None, done: Callable[[], None] = lambda: None
    ) -> None:
        def look_at(answer: "asyncio.Future[list[Happened]]") -> None:
            if answer.cancelled():
                return
            if (error := answer.exception()) is not None:
                log.info("dispatcher.refused reason=%r", str(error))
                refused()
            done()

        self._loop.post(change).add_done_callback(look_at)

    async def _carry_in(self) -> None:
        while True:
            batch = [await self._arrivals.get()]
            while not self._arrivals.empty() and len(batch) < BATCH_REPORTS:
                batch.append(self._arrivals.get_nowait())
            outcomes = await self._keep([image for reported in batch if (image := self._wanted(reported)) is not None])
            for reported in batch:
                report = reported.report
                if isinstance(report, AttemptReport):
                    self._sent.pop(report.key, None)
                acknowledge = partial(self._acknowledge, reported)
                if not isinstance(report, ImageReport):
                    self._post(partial(judge, worker_id=reported.worker_id, report=report), done=acknowledge)
                elif id(report) in outcomes:
                    self._settle(reported.worker_id, report, outcomes[id(report)], acknowledge)
                elif (report.key, report.index) not in self._settling:  # or else its first copy is acknowledged
                    acknowledge()

    def _acknowledge(self, reported: Reported) -> None:
        if reported.number is not None:
            self._engine.acknowledge(reported.worker_id, reported.number)

    def _wanted(self, reported: Reported) -> ImageReport | None:
        """The image that was reported, if it still counts and is not being settled already.

        An image that is delivered twice has one file name: the second must not touch what the first has committed.
        """
        image = reported.report
        if not isinstance(image, ImageReport):
            return None
        try:
            attempt = self._state.attempt(image.key)
        except StaleAttemptError as error:
            self._post(partial(_refused, worker_id=reported.worker_id, image=image, reason=str(error)))
            return None
        if image.index not in attempt.task.remaining or (image.key, image.index) in self._settling:
            log.info("dispatcher.refused_again job=%s image=%d", image.key.job_id, image.index)
            return None
        self._settling.add((image.key, image.index))
        return image

    async def _keep(self, images: Sequence[ImageReport]) -> dict[int, Outcome]:
        """Inspects and stores images, on another thread; what came of each, by its identity."""
        if not images:
            return {}
        sizes = [self._size(image) for image in images]
        outcomes = await asyncio.get_running_loop().run_in_executor(None, self._inspect_and_store, images, sizes)
        return {id(image): outcome for image, outcome in zip(images, outcomes, strict=True)}

    def _inspect_and_store(self, images: Sequence[ImageReport], sizes: Sequence[tuple[int, int]]) -> list[Outcome]:
        defects = [defect(image.png, *size) for image, size in zip(images, sizes, strict=True)]
        sound = [image for image, wrong in zip(images, defects, strict=True) if wrong is None]
        stored = iter(self._artifacts.store([(self._path(image), image.png) for image in sound]))
        return [next(stored) if wrong is None else wrong for wrong in defects]

    def _size(self, image: ImageReport) -> tuple[int, int]:
        defaults = self._state.jobs[image.key.job_id].spec.defaults
        assert defaults.width is not None
        assert defaults.height is not None
        return defaults.width, defaults.height

    def _path(self, image: ImageReport) -> Path:
        return self._artifacts.path(image.key.job_id, image.index, image.key.number)

    def _settle(self, worker_id: str, image: ImageReport, outcome: Outcome, acknowledge: Callable[[], None]) -> None:
        def settled() -> None:
            self._settling.discard((image.key, image.index))
            acknowledge()

        if isinstance(outcome, Stored):
            change = partial(_committed, worker_id=worker_id, image=image, stored=outcome)
            self._post(change, refused=partial(self._refuse, worker_id, image), done=settled)
        elif isinstance(outcome, OSError):
            log.error("dispatcher.not_stored reason=%r", str(outcome))
            self._post(partial(_not_stored, key=image.key, error=outcome), done=settled)
        else:
            message = f"The file that {worker_id} delivered is not the image that was asked for: {outcome}."
            failure = ImageFailureReport(image.key, image.index, RESULT_DEFECTIVE, message)
            self._post(partial(judge, worker_id=worker_id, report=failure), done=settled)

    def _refuse(self, worker_id: str, image: ImageReport) -> None:
        """Its attempt was lost while the image was stored."""
        self._artifacts.remove(self._path(image))
        reason = f"Attempt {image.key.number} ended while its image was stored."
        self._post(partial(_refused, worker_id=worker_id, image=image, reason=reason))


def _refused(_: FarmState, now: float, worker_id: str, image: ImageReport, reason: str) -> Iterator[ev.Event]:
    yield ev.ResultRefused(image.key.job_id, now, image.key.number, image.index, worker_id, reason)


def _committed(
    _: FarmState,
    now: float,
    worker_id: str,
    image: ImageReport,
    stored: Stored,
) -> Iterator[ev.Event]:
    yield ev.ImageCommitted(
        job_id=image.key.job_id,
        time=now,
        number=image.key.number,
        index=image.index,
        worker_id=worker_id,
        sha256=stored.sha256,
        size_bytes=stored.size_bytes,
        provenance=image.provenance,
        render_seconds=image.render_seconds,
        denoise_seconds=image.denoise_seconds,
        notes=image.notes,
        evaluations=image.evaluations,
    )


def _not_stored(state: FarmState, now: float, key: AttemptKey, error: OSError) -> Iterator[ev.Event]:
    """The coordinator's disk is at fault: the job waits for people, and its images lose no try."""
    attempt = state.attempt(key)
    reason = f"An image could not be stored ({error.strerror})."
    if (state.jobs[key.job_id].state, ev.JobPaused) in JOB_TRANSITIONS:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        mend = "It resumes by itself when there is room." if is_full else "Repair the disk, then resume the job."
        yield ev.JobPaused(key.job_id, now, f"{reason} {mend}", waits_for_room=is_full)
    yield attempt_ended(attempt, now, AttemptState.ABANDONED, reason)
