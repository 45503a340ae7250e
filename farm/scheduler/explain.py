"""Why a job runs on a worker, or why it does not."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass, replace

from farm.domain import JobState, WorkerState
from farm.scheduler.blame import MAX_IN_A_ROW, avoided, must_wait
from farm.scheduler.fitting import Misfit, Unfit, fit
from farm.scheduler.groups import DEPTH, Place
from farm.scheduler.plan import Level
from farm.scheduler.pull import choose, first_image_seconds
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
    turns: dict[Place, Answer] = {}
    for worker in state.workers.values():
        answer = _explain_worker(state, job, worker, now)
        if answer is None:
            # What is there for one worker of a place is there for all, but for those that failed images.
            place = worker.place
            answer = None if place is None or worker.failing else turns.get(place)
            if answer is None:
                answer = _explain_turn(state, job, worker, now)
            if place is not None and not worker.failing:
                turns[place] = answer
        yield WorkerReason(worker.worker_id, *answer)


def _explain_worker(state: FarmState, job: LiveJob, worker: Worker, now: float) -> Answer | None:
    """What does not depend on other jobs; None if the worker could render images that wait now."""
    held = [key for key in worker.attempts if key.job_id == job.job_id]
    if held and worker.state in (WorkerState.OFFLINE, WorkerState.SUSPENDED):
        return ABSENCES[worker.state], f"has it, but is {worker.state.value.lower()}: {worker.reason}"
    if held and worker.attempts[0] == held[0]:
        return Reason.RUNS_HERE, f"renders it now, attempt {held[0].number}"
    if held:
        return Reason.RUNS_NEXT, f"renders it next, attempt {held[0].number}"
    way = fit(state.rates, job.kind, worker.facts) if worker.facts is not None else None
    if isinstance(way, Unfit):
        return Reason(way.misfit.value), way.detail  # also of one that is away: to wake it would not help
    if worker.state in ABSENCES:
        return ABSENCES[worker.state], f"is {worker.state.value.lower()}: {worker.reason}"
    standing = job.standings.get(worker.worker_id)
    if standing is not None and standing.aside:
        return Reason.SET_ASIDE, f"is set aside for this job: {standing.aside}"
    if not job.is_runnable:
        return _explain_idle(job)
    if must_wait(state, job, worker.worker_id, now):
        return Reason.OTHERS_TRY_FIRST, f"failed {MAX_IN_A_ROW} images in a row; others try them first"
    if len(avoided(state, job, worker.worker_id, now)) == len(job.pending):
        return Reason.OTHERS_TRY_FIRST, "failed every image that waits; others try them first"
    return None


def _explain_idle(job: LiveJob) -> Answer:
    if job.state is JobState.PAUSED:
        return Reason.JOB_PAUSED, "could render it, but the job is paused"
    if job.state is JobState.CANCELLING:
        return Reason.JOB_CANCELLING, "could render it, but the job is being cancelled"
    return Reason.NOTHING_WAITS, "could render it, but every image of it is done or with a worker"


def _explain_turn(state: FarmState, job: LiveJob, worker: Worker, now: float) -> Answer:
    """Why a worker that could render a job that waits has none of it: by what `choose` would give it next."""
    plan, place, own = state.plan, worker.place, _level(state, job)
    way = None if plan is None or place is None else plan.ways.get((place.group[0], job.kind.number))
    if plan is None or place is None or own is None or way is None:
        return Reason.CAN_RUN, "can render it, and will when it has a place free"
    place = replace(place, depth=min(place.depth, DEPTH - 1))
    choice = choose(state, plan, worker.worker_id, place, now)
    other = choice[0] if choice is not None else None
    if other is job:
        return Reason.CAN_RUN, "can render it, and will when it has a place free"
    theirs = _level(state, other) if other is not None else None
    if other is None or theirs is None or theirs.priority < own.priority:
        seconds = first_image_seconds(state.groups[place.group], place, way)
        left = job.kind.unsettled / own.rates[job.kind.number] + own.surplus[job.kind.number]
        cost = f"its first image would take {seconds:.0f} s and all of them will be done in {left:.0f} s"
        return Reason.TOO_SLOW_NOW, f"could render it, but {cost}"
    if theirs.priority > own.priority:
        return Reason.OTHER_JOB_FIRST, f"could render it, but job {other.job_id} has a higher priority"
    if other.kind is not job.kind and not own.shares.get(place.group, {}).get(job.kind.number):
        return Reason.BETTER_USED, f"could render it, but is better used by job {other.job_id}"
    has_had_less = state.accounts[other.submitter].served < state.accounts[job.submitter].served
    why = ", whose submitter has had less so far," if has_had_less else ""
    return Reason.OTHER_JOB_FIRST, f"could render it, but job {other.job_id}{why} comes first"


def _level(state: FarmState, job: LiveJob) -> Level | None:
    """Where a job stands in the plan; None if it is not in it."""
    number, levels = job.kind.number, () if state.plan is None else state.plan.levels
    found = (level for level in levels if number in level.queues)
    return next((level for level in found if job.job_id in level.queues[number].jobs.get(job.submitter, ())), None)
