"""Counts what happens on the farm, and measures the state when somebody asks: the coordinator's metrics."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from farm import installation, metrics
from farm.coordinator.loop import Happened
from farm.domain import AttemptKey, AttentionVariant, ChipClass, ComputeUnit, JobState, WorkerState
from farm.metrics import Meters, Rendering
from farm.scheduler import events as ev
from farm.scheduler.state import FarmState, Worker

_UNKNOWN = "UNKNOWN"
"""Class of a worker that the state does not know any more."""


class Metering:
    """Observes the loop.

    Args:
        meters: Where it is counted.
        state: The farm. It is read only between turns, and in the observer.
    """

    def __init__(self, meters: Meters, state: FarmState) -> None:
        self.meters = meters
        self._state = state
        self._foretold = state.forecasts.count
        meters.set(metrics.INFO, 1, installation.version())
        self._renderings = {
            attempt.key: self._rendering(attempt.started)
            for job in state.jobs.values()
            for attempt in job.attempts.values()
        }
        self._tellers: dict[type, Callable[[Any], None]] = {
            ev.AttemptStarted: self._attempt_started,
            ev.AttemptEnded: self._attempt_ended,
            ev.ImageCommitted: self._image_committed,
            ev.ImageFailed: self._image_failed,
            ev.StepDone: self._step_done,
            ev.ResultRefused: lambda _: meters.count(metrics.REFUSED),
            ev.WorkerSetAside: lambda _: meters.count(metrics.SET_ASIDE),
            ev.WorkerLeft: self._worker_left,
            ev.JobEnded: self._job_ended,
        }

    def observe(self, happened: Sequence[Happened]) -> None:
        """Counts these events."""
        for _, event in happened:
            tell = self._tellers.get(type(event))
            if tell is not None:
                tell(event)

    def committed_journal(self, seconds: float) -> None:
        """Notes how long a transaction of the journal took."""
        self.meters.record(metrics.COMMIT_SECONDS, seconds)

    def measure(self, now: float) -> None:
        """Sets what is so now; the state must not change meanwhile."""
        self._measure_workers()
        self._measure_jobs(now)

    def _measure_workers(self) -> None:
        meters = self.meters
        for family in (metrics.WORKERS, metrics.WORKER_SEEN, metrics.WORKER_STATE, metrics.WORKER_BUSY):
            meters.forget(family)
        counts: Counter[tuple[WorkerState, ChipClass]] = Counter()
        for worker in self._state.workers.values():
            if worker.facts is None:
                continue
            labels = (worker.worker_id, worker.facts.chip_class.value)
            counts[worker.state, worker.facts.chip_class] += 1
            meters.set(metrics.WORKER_SEEN, worker.last_seen, *labels)
            meters.set(metrics.WORKER_STATE, 1, *labels, worker.state.value)
            meters.set(metrics.WORKER_BUSY, bool(worker.attempts), *labels)
        for (state, chip_class), count in counts.items():
            meters.set(metrics.WORKERS, count, state.value, chip_class.value)
        meters.set(metrics.LEASES, len(self._state.heard))

    def _measure_jobs(self, now: float) -> None:
        meters = self.meters
        for family in (metrics.QUEUE, metrics.RUNNING):
            meters.forget(family)
        states: Counter[JobState] = Counter()
        waiting: Counter[str] = Counter()
        running: Counter[str] = Counter()
        for job in self._state.jobs.values():
            states[job.state] += 1
            pending = len(job.pending)
            waiting[job.spec.model] += pending
            running[job.spec.model] += job.unsettled - pending
        for job_state in JobState:
            if not job_state.is_final:
                meters.set(metrics.JOBS, states[job_state], job_state.value)
        for model in waiting:
            meters.set(metrics.QUEUE, waiting[model], model)
            meters.set(metrics.RUNNING, running[model], model)
        stalled = (now - self._state.jobs[job_id].last_start for job_id in self._state.runnable)
        meters.set(metrics.STALLED, max(stalled, default=0.0))

    def _attempt_started(self, event: ev.AttemptStarted) -> None:
        self._renderings[AttemptKey(event.job_id, event.number)] = self._rendering(event)
        if event.task_number != event.number:
            self.meters.count(metrics.DUPLICATES)

    def _attempt_ended(self, event: ev.AttemptEnded) -> None:
        self._renderings.pop(AttemptKey(event.job_id, event.number), None)
        self.meters.count(metrics.ATTEMPTS, event.state.value, self._chip_class(event.worker_id))

    def _image_committed(self, event: ev.ImageCommitted) -> None:
        how = event.provenance
        labels = _labels(how.model, how.chip_class.value, how.compute_unit, how.attention)
        self.meters.count(metrics.IMAGES, *labels)
        self.meters.count(metrics.IMAGE_BYTES, how.model, by=event.size_bytes)
        self.meters.record(metrics.IMAGE_SECONDS, event.render_seconds, *labels)

    def _image_failed(self, event: ev.ImageFailed) -> None:
        labels = self._renderings.get(AttemptKey(event.job_id, event.number))
        if labels is not None:
            outcome = "given_up" if event.is_final else "tried_again"
            self.meters.count(metrics.FAILURES, *labels, metrics.bounded(event.reason), outcome)

    def _step_done(self, event: ev.StepDone) -> None:
        labels = self._renderings.get(event.key)
        if labels is not None:
            self.meters.count(metrics.STEPS, *labels)

    def _worker_left(self, event: ev.WorkerLeft) -> None:
        if event.is_silent:
            self.meters.count(metrics.LEASES_EXPIRED)

    def _job_ended(self, event: ev.JobEnded) -> None:
        self.meters.count(metrics.JOBS_ENDED, event.state.value)
        forecasts = self._state.forecasts
        new = min(forecasts.count - self._foretold, len(forecasts.newest))
        for ratio in list(forecasts.newest)[len(forecasts.newest) - new :]:
            self.meters.record(metrics.ETA_RATIO, ratio)
        self._foretold = forecasts.count

    def _rendering(self, started: ev.AttemptStarted) -> Rendering:
        # An attempt may outlive its job by a turn; whatever comes of it then is refused.
        job = self._state.jobs.get(started.job_id)
        model = _UNKNOWN if job is None else job.spec.model
        return _labels(model, self._chip_class(started.worker_id), started.compute_unit, started.attention)

    def _chip_class(self, worker_id: str) -> str:
        worker: Worker | None = self._state.workers.get(worker_id)
        return _UNKNOWN if worker is None or worker.facts is None else worker.facts.chip_class.value


def _labels(model: str, chip_class: str, compute_unit: ComputeUnit, attention: AttentionVariant) -> Rendering:
    return model, chip_class, compute_unit.value, attention.value
