"""Makes the views: what is live from the state, what has ended from the journal."""

from collections import Counter
from collections.abc import Collection

from farm.coordinator.journal_reader import ImageRow, JobRow
from farm.coordinator.views import (
    AttemptView,
    Committed,
    Explanation,
    FarmView,
    ImageView,
    JobView,
    ProgressView,
    WorkerExplanation,
    WorkerView,
)
from farm.domain import AttemptState, ImageState, JobSpec, JobState, WorkerState, resolve
from farm.reports import Stage
from farm.scheduler import events as ev
from farm.scheduler.eta import eta, eta_ahead
from farm.scheduler.explain import ABSENCES, Reason, explain
from farm.scheduler.fitting import fit
from farm.scheduler.plan import Way
from farm.scheduler.state import Attempt, FarmState, LiveJob, Worker, kind_of
from farm.scheduler.trouble import Loss

WAITS_FOR_ITS_TURN = frozenset(
    reason.value
    for reason in (
        Reason.CAN_RUN,
        Reason.RUNS_NEXT,
        Reason.OTHER_JOB_FIRST,
        Reason.BETTER_USED,
        Reason.TOO_SLOW_NOW,
        Reason.OTHERS_TRY_FIRST,
    )
)

_NOBODY = "no worker that is here now can render it"

_MAX_NAMED = 3
"""Workers that are named at most where a job waits for some to come back."""

_ABSENCES = frozenset(reason.value for reason in ABSENCES.values())

_ENDED = {
    JobState.SUCCEEDED: "It has succeeded",
    JobState.FAILED: "It has failed",
    JobState.CANCELLED: "It was cancelled",
}


def ended_job_view(row: JobRow) -> JobView:
    """A job that has ended, from its row."""
    assert row.state is not None, "the row of a live job has no summary yet"
    return JobView(
        job_id=row.job_id,
        spec=row.spec,
        state=row.state,
        submitter=row.submitter,
        priority=row.priority,
        image_count=row.image_count,
        succeeded_count=row.succeeded_count,
        failed_count=row.failed_count,
        create_time=row.create_time,
        start_time=row.start_time,
        end_time=row.end_time,
        eta=None,
        reason=row.reason,
    )


def live_job_view(state: FarmState, job: LiveJob, now: float) -> JobView:
    """A job that has not ended."""
    return JobView(
        job_id=job.job_id,
        spec=job.spec,
        state=job.state,
        submitter=job.submitter,
        priority=job.priority,
        image_count=job.image_count,
        succeeded_count=job.succeeded_count,
        failed_count=job.failed_count,
        create_time=job.create_time,
        start_time=job.start_time,
        end_time=None,
        eta=eta(state, job, now),
        reason=job.reason or "; ".join(filter(None, (_asides(job), _cannot_run(state, job)))),
    )


def _cannot_run(state: FarmState, job: LiveJob) -> str:
    """That nobody can render it as the farm is now, if so; `explanation` says why of each worker."""
    plan = state.plan
    is_planned = plan is None or plan.time < job.last_start or job.job_id in plan.ends
    if is_planned or not job.is_active or job.is_settled:
        return ""
    holders = (state.workers[attempt.started.worker_id].state for attempt in job.attempts.values())
    goes_on = any(holder in (WorkerState.ACTIVE, WorkerState.DRAINING) for holder in holders)
    return "" if goes_on else _NOBODY


def _asides(job: LiveJob) -> str:
    """Which workers are set aside for a job, and why."""
    asides = ((name, standing.aside) for name, standing in job.standings.items() if standing.aside)
    return "; ".join(f"{name} is set aside: {reason}" for name, reason in asides)


def prospective_job_view(
    state: FarmState, spec: JobSpec, submitter: str, image_count: int, evaluations: int, now: float
) -> JobView:
    """A job as it would be if it were accepted now: it has no id, and ends as if nothing else came.

    Args:
        state: The farm.
        spec: The job's, with complete defaults.
        submitter: Who would submit it.
        image_count: Its images.
        evaluations: Of the UNet for an image, the mean of all images.
        now: The time.
    """
    kind = kind_of(spec, evaluations)
    here = (worker.facts for worker in state.workers.values() if worker.state is WorkerState.ACTIVE)
    is_possible = any(facts is not None and isinstance(fit(state.rates, kind, facts), Way) for facts in here)
    return JobView(
        job_id="",
        spec=spec,
        state=JobState.PENDING,
        submitter=submitter,
        priority=spec.priority,
        image_count=image_count,
        succeeded_count=0,
        failed_count=0,
        create_time=now,
        start_time=None,
        end_time=None,
        eta=eta_ahead(state, kind, submitter, spec.priority, image_count, now),
        reason="" if is_possible else _NOBODY,
    )


def image_view(job_id: str, spec: JobSpec, row: ImageRow, unsettled: ImageState) -> ImageView:
    """An image; `unsettled` is its state if nothing came of it yet."""
    filled = resolve(row.spec, spec.defaults, row.index)
    match row.result:
        case ev.ImageCommitted() as result:
            committed = Committed(
                sha256=result.sha256,
                size_bytes=result.size_bytes,
                attempt_number=result.number,
                worker_id=result.worker_id,
                provenance=result.provenance,
                render_seconds=result.render_seconds,
                notes=result.notes,
            )
            return ImageView(job_id, row.index, ImageState.SUCCEEDED, filled, committed, result.time)
        case ev.ImageFailed() as result:
            return ImageView(
                job_id,
                row.index,
                ImageState.FAILED,
                filled,
                finish_time=result.time,
                error_reason=result.reason,
                error_message=result.message,
            )
        case None:
            return ImageView(job_id, row.index, unsettled, filled)


def unsettled_state(state: FarmState, job_id: str, index: int) -> ImageState:
    """The state of an image of which nothing came yet."""
    job = state.jobs.get(job_id)
    if job is None:
        return ImageState.CANCELLED
    return ImageState.PENDING if index in job.pending else ImageState.RUNNING


def attempt_view(event: ev.Event) -> AttemptView | None:
    """An attempt as it starts or ends, or delivers an image that is refused; None for any other event."""
    match event:
        case ev.AttemptStarted():
            span, state, reason, end_time = (event.first_index, event.image_count), AttemptState.RUNNING, "", None
        case ev.AttemptEnded():
            span, state = (event.first_index, event.image_count), event.state
            reason, end_time = event.reason, event.time
        case ev.ResultRefused():
            span, state = (event.index, 1), AttemptState.ABANDONED
            reason, end_time = f"An image came too late and was refused: {event.reason}", event.time
        case _:
            return None
    return AttemptView(event.job_id, event.number, event.worker_id, *span, state, reason, end_time)


def loss_view(job_id: str, loss: Loss) -> AttemptView:
    """An attempt that was lost."""
    late = f" {loss.refused} of its images came too late and were refused." if loss.refused else ""
    return AttemptView(
        job_id=job_id,
        number=loss.number,
        worker_id=loss.worker_id,
        first_index=loss.first_index,
        image_count=loss.image_count,
        state=loss.state,
        reason=f"{loss.reason.rstrip('.')}.{late}" if late else loss.reason,
        end_time=loss.time,
    )


def progress_view(attempt: Attempt) -> ProgressView:
    """What was last heard of a live attempt."""
    return ProgressView(
        job_id=attempt.started.job_id,
        attempt_number=attempt.started.number,
        worker_id=attempt.started.worker_id,
        index=attempt.index,
        stage=attempt.stage or Stage.LOAD,
        step=attempt.step,
        step_count=attempt.step_count,
    )


def worker_view(state: FarmState, worker: Worker) -> WorkerView | None:
    """A worker; None for one that only the journal names."""
    if worker.facts is None:
        return None
    current = worker.attempts[0] if worker.attempts else None
    return WorkerView(
        worker_id=worker.worker_id,
        state=worker.state,
        reason=worker.reason,
        facts=worker.facts,
        resident_models=tuple(dict.fromkeys(resident.model for resident in worker.residents)),
        current_attempt=(current.job_id, current.number) if current else None,
        images_per_hour=3600 / worker.image_seconds if worker.image_seconds else 0.0,
        relative_speed=state.rates.relative_speed(worker.worker_id),
        last_seen_time=worker.last_seen,
    )


def farm_view(state: FarmState, now: float, limit: int, watched: Collection[str]) -> FarmView:
    """The farm, with its first `limit` jobs, and as many of each submitter in `watched`."""
    workers = (worker_view(state, worker) for worker in state.workers.values())
    counts: Counter[str] = Counter()
    shown: list[LiveJob] = []
    for place, job in enumerate(sorted(state.jobs.values(), key=lambda job: (not job.attempts, -job.create_time))):
        if place < limit or (job.submitter in watched and counts[job.submitter] < limit):
            shown.append(job)
        counts[job.submitter] += 1
    current = {
        worker.worker_id: state.jobs[key.job_id].attempts[key.number]
        for worker in state.workers.values()
        for key in worker.attempts[:1]
    }
    return FarmView(
        workers=tuple(view for view in workers if view is not None),
        jobs=tuple(live_job_view(state, job, now) for job in shown),
        live_counts=counts,
        rendering={worker_id: progress_view(attempt) for worker_id, attempt in current.items()},
    )


def explanation(state: FarmState, job: LiveJob, now: float) -> Explanation:
    """Why a live job runs, or does not run, on each worker."""
    workers = [
        WorkerExplanation(why.worker_id, why.reason is Reason.RUNS_HERE, why.reason.value, why.detail)
        for why in sorted(explain(state, job, now), key=lambda why: why.worker_id)
    ]
    losses = tuple(loss_view(job.job_id, loss) for loss in job.losses)
    return Explanation(_summary(job, workers), tuple(workers), losses)


def ended_explanation(row: JobRow) -> Explanation:
    """What is to be said of a job that has ended."""
    assert row.state is not None, "the row of a live job has no summary yet"
    losses = tuple(loss_view(row.job_id, loss) for loss in row.losses)
    why = f" ({row.reason})" if row.reason else ""
    return Explanation(f"{_ENDED[row.state]}{why}.", (), losses)


def _summary(job: LiveJob, workers: list[WorkerExplanation]) -> str:
    here = sum(worker.runs_here for worker in workers)
    if job.state is JobState.PAUSED:
        return f"It is {job.reason}." if job.reason.startswith("paused") else f"It is paused: {job.reason}"
    if job.state is JobState.CANCELLING:
        return "It is being cancelled: workers are finishing their current step."
    if here:
        return f"It runs on {here} of {len(workers)} workers; {len(job.pending)} images wait."
    if not workers:
        return "It waits for a worker: none has joined yet."
    if any(worker.reason in WAITS_FOR_ITS_TURN for worker in workers):
        return "It waits for its turn."
    away = [f"{worker.worker_id} ({worker.reason.lower()})" for worker in workers if worker.reason in _ABSENCES]
    if away:
        more = [f"{len(away) - _MAX_NAMED} more"] if len(away) > _MAX_NAMED else []
        names = " or ".join([*away[:_MAX_NAMED], *more])
        return f"It waits for {names}: no other worker can render it now. Each line below says why."
    return "It waits for a worker that can render it: none can now. Each line below says why."
