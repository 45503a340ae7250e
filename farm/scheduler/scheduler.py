"""What follows from the state (`decide`) and from a renderer's report (`judge`). Both only say; `apply` does."""

from collections.abc import Iterator

from farm.domain import AttemptState, JobState
from farm.errors import RENDERER_CRASHED, StaleAttemptError
from farm.reports import (
    AttemptReport,
    DeviceReport,
    FactsReport,
    ImageFailureReport,
    MeasurementReport,
    Report,
    ResidencyReport,
    StageReport,
    StepReport,
    TrialReport,
)
from farm.scheduler import blame
from farm.scheduler import events as ev
from farm.scheduler.groups import DEPTH
from farm.scheduler.plan import GroupKey, Plan, Way
from farm.scheduler.planning import due_time, make_plan
from farm.scheduler.pull import choose, choose_late, is_loading_long, soonest_seconds
from farm.scheduler.state import LEASE_SECONDS, Attempt, FarmState, LiveJob, Worker


def decide(state: FarmState, now: float) -> Iterator[ev.Event]:
    """Yields what is due at `now`: leases that ran out, attempts that are lost, jobs that have ended, placements.

    The caller applies each event before it asks for the next, so every decision sees the ones before it. Nothing is
    changed here, and the same state and time give the same events.

    Args:
        state: The farm.
        now: Seconds since the epoch, by the clock that stamps the events.
    """
    while (silent := _silent(state, now)) is not None:
        reason = f"not heard of for {now - silent.last_seen:.0f} s"
        yield ev.WorkerLeft(silent.worker_id, now, reason, is_silent=True)
    while (found := blame.culprit(state)) is not None:
        job, worker_id = found
        count = job.standings[worker_id].blame
        yield ev.WorkerSetAside(job.job_id, now, worker_id, f"it failed {count} times on images that others rendered")
    while state.lost:
        key, reason = next(iter(state.lost.items()))
        yield attempt_ended(state.attempt(key), now, AttemptState.ABANDONED, reason)
    while state.beaten:
        key = next(iter(state.beaten))
        reason = "another worker was first with the last of its images"
        yield attempt_ended(state.attempt(key), now, AttemptState.CANCELLED, reason)
    while state.settled:
        yield _job_end(state.jobs[next(iter(state.settled))], now)
    due = due_time(state)
    if due is not None and now >= due:
        yield ev.Planned(make_plan(state, now))
    if state.plan is not None and state.jobs:
        yield from _placements(state, state.plan, now)


def next_deadline(state: FarmState) -> float | None:
    """When `decide` is to be asked again although nothing has happened; None for never."""
    silence = next((heard + LEASE_SECONDS for heard in state.heard.values()), None)
    return min((time for time in (silence, due_time(state)) if time is not None), default=None)


def _silent(state: FarmState, now: float) -> Worker | None:
    for worker_id, heard in state.heard.items():
        return state.workers[worker_id] if heard + LEASE_SECONDS <= now else None
    return None


def _job_end(job: LiveJob, now: float) -> ev.JobEnded:
    if job.state is JobState.CANCELLING:
        final, reason = JobState.CANCELLED, job.reason
    elif job.succeeded_count:
        final, reason = JobState.SUCCEEDED, f"{job.failed_count} images failed" if job.failed_count else ""
    else:
        final, reason = JobState.FAILED, "every image failed"
    return ev.JobEnded(
        job_id=job.job_id,
        time=now,
        state=final,
        reason=reason,
        succeeded_count=job.succeeded_count,
        failed_count=job.failed_count,
        start_time=job.start_time,
        next_attempt_number=job.next_attempt_number,
        losses=tuple(job.losses),
    )


def _placements(state: FarmState, plan: Plan, now: float) -> Iterator[ev.AttemptStarted]:
    """Everybody gets something to render before anybody gets something to render next; the quickest come first."""
    for depth in range(DEPTH):
        keys = list(state.vacant[depth])
        if len(keys) > 1:
            keys.sort(key=lambda key: soonest_seconds(state, plan, key))
        for key in keys:
            yield from _fill(state, plan, key, depth, now)


def _fill(state: FarmState, plan: Plan, key: GroupKey, depth: int, now: float) -> Iterator[ev.AttemptStarted]:
    """What is there for one worker of a group is there for all, but for those that failed images."""
    refused: set[str] = set()
    while key in state.vacant[depth]:
        vacant = state.groups[key].vacant[depth]
        worker_id = next((worker_id for worker_id in vacant if worker_id not in refused), None)
        if worker_id is None:
            return
        start = _placement(state, plan, key, worker_id, now)
        if start is not None:
            yield start
        elif state.workers[worker_id].failing:
            refused.add(worker_id)
        else:
            return


def _placement(state: FarmState, plan: Plan, key: GroupKey, worker_id: str, now: float) -> ev.AttemptStarted | None:
    worker = state.workers[worker_id]
    place = worker.place
    assert place is not None, "only ACTIVE workers are vacant"
    if is_loading_long(state, plan, worker):
        return None
    if state.runnable and (choice := choose(state, plan, worker_id, place, now)) is not None:
        job, way, size = choice
        first, stop = job.pending.first_run(size, blame.avoided(state, job, worker_id, now))
        return _start(job, job.next_attempt_number, worker_id, way, range(first, stop), now)
    if place.depth == 0 and (late := choose_late(state, plan, key, worker_id, now)) is not None:
        attempt, way = late
        job, started = state.jobs[attempt.started.job_id], attempt.started
        span = range(started.first_index, started.first_index + started.image_count)
        return _start(job, attempt.task.number, worker_id, way, span, now)
    return None


def _start(job: LiveJob, task_number: int, worker_id: str, way: Way, span: range, now: float) -> ev.AttemptStarted:
    return ev.AttemptStarted(
        job_id=job.job_id,
        time=now,
        number=job.next_attempt_number,
        task_number=task_number,
        worker_id=worker_id,
        first_index=span.start,
        image_count=len(span),
        model_digest=way.offer.digest,
        compute_unit=way.compute_unit,
        attention=way.offer.attention,
    )


def judge(state: FarmState, now: float, worker_id: str, report: Report) -> Iterator[ev.Event]:
    """Yields what a report of a worker means, apart from finished images, which count once their files are on disk.

    The caller applies each event before it asks for the next.

    Raises:
        StaleAttemptError: The report is of an attempt that no longer counts, or that another worker holds.
    """
    if isinstance(report, DeviceReport):
        yield ev.WorkerSuspended(worker_id, now, report.reason)
        return
    if isinstance(report, ResidencyReport):
        yield ev.ResidentsChanged(worker_id, now, report.residents)
        return
    if isinstance(report, MeasurementReport):
        yield ev.VariantMeasured(worker_id, report.measurement)
        return
    if isinstance(report, FactsReport):
        yield ev.WorkerChanged(worker_id, report.facts)
        return
    if isinstance(report, TrialReport):
        return  # it is of interest on its own machine
    if state.attempt(report.key).started.worker_id != worker_id:
        raise StaleAttemptError(f"Attempt {report.key.number} of {report.key.job_id} is not {worker_id}'s.")
    if isinstance(report, StageReport):
        yield ev.StageBegun(report.key, report.stage, report.index)
    elif isinstance(report, StepReport):
        yield ev.StepDone(report.key, report.index, report.step, report.step_count)
    elif isinstance(report, ImageFailureReport):
        yield _failure(state, worker_id, report, now)
    elif isinstance(report, AttemptReport):
        yield from _attempt_end(state, worker_id, report, now)


def _failure(state: FarmState, worker_id: str, report: ImageFailureReport, now: float) -> ev.ImageFailed:
    job = state.jobs[report.key.job_id]
    return ev.ImageFailed(
        job_id=report.key.job_id,
        time=now,
        number=report.key.number,
        index=report.index,
        worker_id=worker_id,
        reason=report.reason,
        message=report.message,
        is_final=blame.is_hopeless(state, job, report.index, worker_id),
    )


def _attempt_end(state: FarmState, worker_id: str, report: AttemptReport, now: float) -> Iterator[ev.Event]:
    job = state.jobs[report.key.job_id]
    attempt = job.attempts[report.key.number]
    # An image that this attempt has reported as failed already is not what the renderer died over.
    culprit = report.index if report.index in attempt.task.remaining - attempt.failed else None
    if culprit is not None and blame.is_hopeless(state, job, culprit, worker_id, is_crash=True):
        crashes = job.troubles[culprit].crashes + 1
        yield ev.ImageFailed(
            job_id=job.job_id,
            time=now,
            number=report.key.number,
            index=culprit,
            worker_id=worker_id,
            reason=RENDERER_CRASHED,
            message=f"The renderer died {crashes} times over this image, last: {report.reason}",
            is_final=True,
        )
    reason = report.reason
    if not reason and report.state is AttemptState.CANCELLED:
        reason = _why_cancelled(job, state.workers[worker_id])
    yield attempt_ended(attempt, now, report.state, reason, culprit)


def _why_cancelled(job: LiveJob, worker: Worker) -> str:
    """Why an attempt was stopped, which its worker was not told."""
    if job.state is JobState.CANCELLING:
        return f"its job was {job.reason}"
    return "its worker was drained at once" if worker.is_drained else "it was stopped on request"


def attempt_ended(
    attempt: Attempt, now: float, state: AttemptState, reason: str, index: int | None = None
) -> ev.AttemptEnded:
    """The end of an attempt; arguments as the event's fields."""
    started = attempt.started
    return ev.AttemptEnded(
        job_id=started.job_id,
        time=now,
        number=started.number,
        state=state,
        reason=reason,
        index=index,
        worker_id=started.worker_id,
        first_index=started.first_index,
        image_count=started.image_count,
    )
