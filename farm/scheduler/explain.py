"""Why a job runs on a worker, or why it does not."""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from farm.domain import JobState, WorkerState
from farm.scheduler.blame import MAX_IN_A_ROW, avoided, must_wait
from farm.scheduler.fitting import Misfit, Unfit, fit
from farm.scheduler.plan import Level, Way
from farm.scheduler.pull import ends_alone
from farm.scheduler.state import FarmState, LiveJob, Worker


class Reason(enum.Enum):
    """Why a job runs on a worker, or why it does not."""

    RUNS_HERE = "RUNS_HERE"
    RUNS_NEXT = "RUNS_NEXT"
    CAN_RUN = "CAN_RUN"
    NOTHING_WAITS = "NOTHING_WAITS"
    JOB_PAUSED = "JOB_PAUSED"
    JOB_CANCELLING = "JOB_CANCELLING"
    OTHER_JOB_FIRST = "OTHER_JOB_FIRST"
    BETTER_USED = "BETTER_USED"
    TOO_SLOW_NOW = "TOO_SLOW_NOW"
    OFFLINE = "OFFLINE"
    DRAINING = "DRAINING"
    SUSPENDED = "SUSPENDED"
    SET_ASIDE = "SET_ASIDE"
    OTHERS_TRY_FIRST = "OTHERS_TRY_FIRST"
    PINNED_AWAY = Misfit.PINNED_AWAY.value
    LACKS_MODEL = Misfit.LACKS_MODEL.value
    LACKS_SIZE = Misfit.LACKS_SIZE.value
    LACKS_VARIANT = Misfit.LACKS_VARIANT.value
    LACKS_MEMORY = Misfit.LACKS_MEMORY.value


@dataclass(frozen=True, slots=True)
class WorkerReason:
    """Why a job runs on a worker, or why it does not: for programs and for people."""

    worker_id: str
    reason: Reason
    detail: str


Answer = tuple[Reason, str]

ABSENCES = {
    WorkerState.OFFLINE: Reason.OFFLINE,
    WorkerState.DRAINING: Reason.DRAINING,
    WorkerState.SUSPENDED: Reason.SUSPENDED,
}


def explain(state: FarmState, job: LiveJob, now: float) -> Iterator[WorkerReason]:
    """Yields, per worker, why the job runs there or why it does not."""
    for worker in state.workers.values():
        yield WorkerReason(worker.worker_id, *_explain_worker(state, job, worker, now))


def _explain_worker(state: FarmState, job: LiveJob, worker: Worker, now: float) -> Answer:
    held = [key for key in worker.attempts if key.job_id == job.job_id]
    if held and worker.state in (WorkerState.OFFLINE, WorkerState.SUSPENDED):
        return ABSENCES[worker.state], f"has it, but is {worker.state.value.lower()}: {worker.reason}"
    if held and worker.attempts[0] == held[0]:
        return Reason.RUNS_HERE, f"renders it now, attempt {held[0].number}"
    if held:
        return Reason.RUNS_NEXT, f"renders it next, attempt {held[0].number}"
    if worker.facts is None or worker.state in ABSENCES:
        return ABSENCES[worker.state], f"is {worker.state.value.lower()}: {worker.reason}"
    way = fit(state.rates, job.kind, worker.facts)
    if isinstance(way, Unfit):
        return Reason(way.misfit.value), way.detail
    standing = job.standings.get(worker.worker_id)
    if standing is not None and standing.aside:
        return Reason.SET_ASIDE, f"is set aside for this job: {standing.aside}"
    if not job.is_runnable:
        return _explain_idle(job)
    if must_wait(state, job, worker.worker_id, now):
        return Reason.OTHERS_TRY_FIRST, f"failed {MAX_IN_A_ROW} images in a row; others try them first"
    if len(avoided(state, job, worker.worker_id, now)) == len(job.pending):
        return Reason.OTHERS_TRY_FIRST, "failed every image that waits; others try them first"
    return _explain_turn(state, job, worker, way)


def _explain_idle(job: LiveJob) -> Answer:
    if job.state is JobState.PAUSED:
        return Reason.JOB_PAUSED, f"could render it, but the job is paused: {job.reason}"
    if job.state is JobState.CANCELLING:
        return Reason.JOB_CANCELLING, "could render it, but the job is being cancelled"
    return Reason.NOTHING_WAITS, "could render it, but every image of it is done or with a worker"


def _explain_turn(state: FarmState, job: LiveJob, worker: Worker, way: Way) -> Answer:
    """Why a worker that could render a job that waits has none of it now: by the plan, as `pull` follows it."""
    level = next((level for level in _levels(state) if _line(level, job) is not None), None)
    first = next((level for level in _levels(state) if _renders(state, level, worker)), None)
    if level is None or first is None or worker.place is None:
        return Reason.CAN_RUN, "can render it, and will when it has a place free"
    if first is not level and first.priority > level.priority:
        renderable = (number for number in first.queues if (worker.machine, number) in _ways(state))
        other = _front(first, next(renderable))
        return Reason.OTHER_JOB_FIRST, f"could render it, but job {other} has a higher priority"
    share = level.shares.get(worker.place.group, {})
    if not share.get(job.kind.number) and share:
        best = max(share, key=lambda number: share[number])
        return Reason.BETTER_USED, f"could render it, but is better used by job {_front(level, best)}"
    line = _line(level, job)
    if line is not None and line != job.job_id:
        return Reason.OTHER_JOB_FIRST, f"could render it, but job {line} comes first"
    seconds, left = state.groups[worker.place.group].seconds(way), job.kind.unsettled / level.rates[job.kind.number]
    if seconds > left + level.quickest[job.kind.number] and ends_alone(state, job.kind.number):
        return (
            Reason.TOO_SLOW_NOW,
            f"could render it, but takes {seconds:.0f} s for an image and all of them will be done in {left:.0f} s",
        )
    return Reason.CAN_RUN, "can render it, and will when it has a place free"


def _levels(state: FarmState) -> tuple[Level, ...]:
    return () if state.plan is None else state.plan.levels


def _line(level: Level, job: LiveJob) -> str | None:
    """The first job that waits in the line where this one does; None if it is not in the plan."""
    queue = level.queues.get(job.kind.number)
    line = () if queue is None else queue.jobs.get(job.submitter, ())
    return line[0] if job.job_id in line else None


def _ways(state: FarmState) -> Mapping[tuple[int, int], Way]:
    return {} if state.plan is None else state.plan.ways


def _front(level: Level, kind: int) -> str:
    """The first job of a kind."""
    return next(iter(level.queues[kind].jobs.values()))[0]


def _renders(state: FarmState, level: Level, worker: Worker) -> bool:
    return any((worker.machine, number) in _ways(state) for number in level.queues)
