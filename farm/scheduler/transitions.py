"""`apply`: the only function that changes the state, and the tables of what may follow what.

Two rules make the rest simple. Everything that affects the state comes in as an event: `apply` reads no clock and no
disk, so replaying the journal gives the state again. And an event that must not happen raises and leaves the state as
it was: what a late result or a foolish command would change is decided here, and nowhere else.
"""

from collections.abc import Callable, Iterable
from typing import Any

from farm.domain import AttemptKey, AttemptState, JobState
from farm.errors import StaleAttemptError, WrongStateError
from farm.scheduler import blame
from farm.scheduler import events as ev
from farm.scheduler.index import (
    close_kind,
    index_accounts,
    index_job,
    index_machine,
    index_worker,
    open_kind,
)
from farm.scheduler.measuring import learn_image, note_forecasts, take_facts, variant_measured, worker_changed
from farm.scheduler.ranges import RangeSet
from farm.scheduler.state import Attempt, FarmState, LiveJob, Task, Worker, kind_of

JOB_TRANSITIONS: dict[tuple[JobState, type], JobState] = {
    (JobState.PENDING, ev.AttemptStarted): JobState.RUNNING,
    (JobState.RUNNING, ev.AttemptStarted): JobState.RUNNING,
    (JobState.PENDING, ev.JobPaused): JobState.PAUSED,
    (JobState.RUNNING, ev.JobPaused): JobState.PAUSED,
    (JobState.PAUSED, ev.JobPaused): JobState.PAUSED,
    # The next attempt makes it RUNNING again.
    (JobState.PAUSED, ev.JobResumed): JobState.PENDING,
    (JobState.PENDING, ev.JobResumed): JobState.PENDING,
    (JobState.RUNNING, ev.JobResumed): JobState.RUNNING,
    (JobState.PENDING, ev.JobCancelled): JobState.CANCELLING,
    (JobState.RUNNING, ev.JobCancelled): JobState.CANCELLING,
    (JobState.PAUSED, ev.JobCancelled): JobState.CANCELLING,
    (JobState.CANCELLING, ev.JobCancelled): JobState.CANCELLING,
}
"""Where an event takes a job. A pair that is not here must not happen."""

JOB_ENDINGS: dict[JobState, frozenset[JobState]] = {
    JobState.PENDING: frozenset({JobState.SUCCEEDED, JobState.FAILED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED}),
    JobState.PAUSED: frozenset({JobState.SUCCEEDED, JobState.FAILED}),
    JobState.CANCELLING: frozenset({JobState.CANCELLED}),
}
"""The final states that a job can reach from each live one. All images may be settled while a job is paused."""


def apply(state: FarmState, event: ev.Event) -> None:
    """Changes `state` by one event.

    Raises:
        StaleAttemptError: The event is of an attempt that no longer counts.
        JobNotFoundError: The event is of a job that is not live.
        WorkerNotFoundError: The event is of a worker that was never heard of.
        WrongStateError: The job or worker is in a state that does not allow it. The state is as it was before.
    """
    _HANDLERS[type(event)](state, event)


def _move_job(job: LiveJob, event: ev.JobPaused | ev.JobResumed | ev.JobCancelled | ev.AttemptStarted) -> None:
    target = JOB_TRANSITIONS.get((job.state, type(event)))
    if target is None:
        raise WrongStateError(
            f"Job {job.job_id} is {job.state.value}: {type(event).__name__} must not happen to it.",
            job=job.job_id,
            state=job.state.value,
        )
    job.state = target


def _job_opened(state: FarmState, event: ev.JobOpened) -> None:
    if event.job_id in state.jobs:
        raise WrongStateError(f"Job {event.job_id} is live already.", job=event.job_id)
    job = state.jobs[event.job_id] = LiveJob(
        job_id=event.job_id,
        spec=event.spec,
        submitter=event.submitter,
        priority=event.priority,
        image_count=event.image_count,
        pending=RangeSet(event.pending),
        succeeded_count=event.succeeded_count,
        next_attempt_number=event.next_attempt_number,
        create_time=event.create_time,
        kind=kind_of(event.spec, event.evaluations),
        last_start=event.time,
    )
    open_kind(state, job)
    index_job(state, job)
    state.is_stale = True


def _job_paused(state: FarmState, event: ev.JobPaused) -> None:
    job = state.job(event.job_id)
    _move_job(job, event)
    job.reason, job.waits_for_room = event.reason, event.waits_for_room
    job.forecasts.clear()
    index_job(state, job)
    state.is_stale = True


def _job_resumed(state: FarmState, event: ev.JobResumed) -> None:
    job = state.job(event.job_id)
    _move_job(job, event)
    job.reason, job.waits_for_room = "", False
    index_job(state, job)
    state.is_stale = True


def _job_prioritized(state: FarmState, event: ev.JobPrioritized) -> None:
    state.job(event.job_id).priority = event.priority
    state.is_stale = True


def _job_cancelled(state: FarmState, event: ev.JobCancelled) -> None:
    job = state.job(event.job_id)
    _move_job(job, event)
    job.reason = event.reason
    index_job(state, job)
    state.is_stale = True


def _job_ended(state: FarmState, event: ev.JobEnded) -> None:
    job = state.job(event.job_id)
    if event.state not in JOB_ENDINGS[job.state] or not job.is_settled:
        raise WrongStateError(
            f"Job {job.job_id} is {job.state.value} and cannot end as {event.state.value} now.",
            job=job.job_id,
            state=job.state.value,
        )
    if event.state is JobState.SUCCEEDED:
        for number, (made, foretold) in job.forecasts.items():
            state.forecasts.learn(number, made, foretold, event.time)
    blame.forget(state, job)
    close_kind(state, job)
    del state.jobs[event.job_id]
    del state.settled[event.job_id]


def _attempt_started(state: FarmState, event: ev.AttemptStarted) -> None:
    job = state.job(event.job_id)
    if event.number < job.next_attempt_number:
        raise StaleAttemptError(f"Attempt number {event.number} of job {job.job_id} was used before.", job=job.job_id)
    standing = job.standings.get(event.worker_id)
    if standing is not None and standing.aside:
        raise WrongStateError(f"Worker {event.worker_id} is set aside for job {job.job_id}.", job=job.job_id)
    task = _new_task(job, event) if event.task_number == event.number else _running_task(job, event)
    _move_job(job, event)
    job.pending.discard(event.first_index, event.first_index + event.image_count)
    task.attempts.add(event.number)
    attempt = Attempt(event, task, event.time)
    job.attempts[event.number] = attempt
    job.next_attempt_number = event.number + 1
    job.start_time = event.time if job.start_time is None else job.start_time
    job.last_start = event.time
    if event.task_number == event.number:
        state.accounts[job.submitter].served += event.image_count * job.kind.work
    worker = state.workers.setdefault(event.worker_id, Worker(event.worker_id))
    worker.attempts.append(attempt.key)
    # Whoever holds an attempt is under a lease, even a worker that only a journal names.
    state.heard.setdefault(worker.worker_id, event.time)
    index_job(state, job)
    index_worker(state, worker)


def _new_task(job: LiveJob, event: ev.AttemptStarted) -> Task:
    span = range(event.first_index, event.first_index + event.image_count)
    if not job.pending.covers(span.start, span.stop):
        raise WrongStateError(
            f"Images {span.start} to {span.stop - 1} of job {job.job_id} do not all wait.", job=job.job_id
        )
    return Task(event.number, set(span))


def _running_task(job: LiveJob, event: ev.AttemptStarted) -> Task:
    for attempt in job.attempts.values():
        if attempt.task.number == event.task_number:
            return attempt.task
    raise StaleAttemptError(f"Task {event.task_number} of job {job.job_id} does not run.", job=job.job_id)


def _attempt_ended(state: FarmState, event: ev.AttemptEnded) -> None:
    attempt = state.attempt(AttemptKey(event.job_id, event.number))
    job = state.jobs[event.job_id]
    task = attempt.task
    del job.attempts[event.number]
    task.attempts.discard(event.number)
    if not task.attempts:
        for index in task.remaining:
            job.pending.add(index, index + 1)
        state.accounts[job.submitter].served -= len(task.remaining) * job.kind.work
    if event.index is not None and event.index in task.remaining:
        blame.note_failure(state, job, event.index, attempt.started.worker_id, event.time, is_crash=True)
    worker = state.workers[attempt.started.worker_id]
    worker.attempts.remove(attempt.key)
    if worker.attempts:
        following = state.attempt(worker.attempts[0])
        following.since = max(following.since, event.time)
    state.lost.pop(attempt.key, None)
    state.beaten.pop(attempt.key, None)
    if event.state is not AttemptState.SUCCEEDED:
        blame.note_loss(job, attempt.started, event)
    index_job(state, job)
    index_worker(state, worker)


def _unsettled(state: FarmState, event: ev.ImageCommitted | ev.ImageFailed) -> Attempt:
    attempt = state.attempt(AttemptKey(event.job_id, event.number))
    if event.index not in attempt.task.remaining or attempt.started.worker_id != event.worker_id:
        raise StaleAttemptError(
            f"Image {event.index} of job {event.job_id} is settled, or not attempt {event.number}'s to settle.",
            job=event.job_id,
            image=str(event.index),
            attempt=str(event.number),
        )
    return attempt


def _settle(state: FarmState, attempt: Attempt, index: int) -> LiveJob:
    """Takes an image out of its task. Who else renders only what is settled by now is to stop."""
    job, task = state.jobs[attempt.started.job_id], attempt.task
    task.remaining.discard(index)
    job.kind.unsettled -= 1
    if not task.remaining:
        number = attempt.started.number
        state.beaten.update({AttemptKey(job.job_id, other): None for other in task.attempts if other != number})
    return job


def _image_committed(state: FarmState, event: ev.ImageCommitted) -> None:
    attempt = _unsettled(state, event)
    attempt.since = event.time
    job = _settle(state, attempt, event.index)
    job.succeeded_count += 1
    blame.clear_up(state, job, event.index, event.worker_id)
    learn_image(state, job, attempt, event)


def _image_failed(state: FarmState, event: ev.ImageFailed) -> None:
    attempt = _unsettled(state, event)
    if event.index in attempt.failed:
        raise StaleAttemptError(f"Attempt {event.number} has said before that image {event.index} failed.")
    attempt.failed.add(event.index)
    job = state.jobs[event.job_id]
    if event.is_final:
        _settle(state, attempt, event.index)
        job.failed_count += 1
        blame.clear_up(state, job, event.index, None)
    else:
        blame.note_failure(state, job, event.index, event.worker_id, event.time)


def _worker_set_aside(state: FarmState, event: ev.WorkerSetAside) -> None:
    job = state.job(event.job_id)
    standing = job.standings.get(event.worker_id)
    if standing is None:
        raise WrongStateError(f"Worker {event.worker_id} failed nothing of job {job.job_id}.", job=job.job_id)
    standing.aside = event.reason
    state.culprits.pop((event.job_id, event.worker_id), None)
    held = [key for key in state.workers[event.worker_id].attempts if key.job_id == event.job_id]
    _lose(state, held, f"its worker was set aside for the job: {event.reason}")


def _worker_joined(state: FarmState, event: ev.WorkerJoined) -> None:
    worker = state.workers.setdefault(event.worker_id, Worker(event.worker_id))
    take_facts(state, worker, event.facts)
    for sample in worker.samples.values():
        state.rates.learn(worker.worker_id, event.facts, sample)
    worker.samples.clear()
    worker.suspension = ""
    _lose(state, [key for key in worker.attempts if key not in event.attempts], "its worker came back without it")
    _seen(state, worker, event.time)
    index_machine(state, worker)
    state.is_stale = True


def _worker_seen(state: FarmState, event: ev.WorkerSeen) -> None:
    worker = state.worker(event.worker_id)
    if worker.facts is None:
        raise WrongStateError(f"Worker {event.worker_id} has not joined.", worker=event.worker_id)
    _seen(state, worker, event.time)


def _seen(state: FarmState, worker: Worker, time: float) -> None:
    was_present, worker.is_present, worker.last_seen = worker.is_present, True, time
    if not was_present:
        index_worker(state, worker)
    # Times do not fall, so moving a worker to the end keeps the longest silent one first.
    state.heard.pop(worker.worker_id, None)
    state.heard[worker.worker_id] = time


def _worker_left(state: FarmState, event: ev.WorkerLeft) -> None:
    worker = state.worker(event.worker_id)
    worker.is_present, worker.absence = False, event.reason
    state.heard.pop(event.worker_id, None)
    _lose(state, worker.attempts, event.reason)
    worker.residents = ()
    index_worker(state, worker)
    state.is_stale = True


def _lose(state: FarmState, keys: Iterable[AttemptKey], reason: str) -> None:
    state.lost.update(dict.fromkeys(keys, reason))


def _worker_suspended(state: FarmState, event: ev.WorkerSuspended) -> None:
    worker = state.worker(event.worker_id)
    worker.suspension = event.reason
    index_worker(state, worker)
    state.is_stale = True


def _worker_drained(state: FarmState, event: ev.WorkerDrained | ev.WorkerUndrained) -> None:
    worker = state.workers.setdefault(event.worker_id, Worker(event.worker_id))
    worker.is_drained = isinstance(event, ev.WorkerDrained)
    if not worker.is_drained:
        blame.forgive(state, event.worker_id)
    index_worker(state, worker)
    state.is_stale = True


def _residents_changed(state: FarmState, event: ev.ResidentsChanged) -> None:
    worker = state.worker(event.worker_id)
    if event.residents == worker.residents:
        return  # a worker says it again whenever its connection is made anew
    if event.residents and worker.attempts:
        state.attempt(worker.attempts[0]).since = event.time
    worker.residents = event.residents
    index_worker(state, worker)


def _stage_begun(state: FarmState, event: ev.StageBegun) -> None:
    attempt = state.attempt(event.key)
    attempt.stage, attempt.index, attempt.step = event.stage, event.index, 0


def _step_done(state: FarmState, event: ev.StepDone) -> None:
    attempt = state.attempt(event.key)
    attempt.index, attempt.step, attempt.step_count = event.index, event.step, event.step_count


def _planned(state: FarmState, event: ev.Planned) -> None:
    state.plan, state.is_stale = event.plan, False
    index_accounts(state, event.plan.served)
    note_forecasts(state, event.plan)


def _clock_jumped(state: FarmState, event: ev.ClockJumped) -> None:
    waited_for = [
        worker
        for worker in state.workers.values()
        if (worker.is_present or worker.attempts) and worker.worker_id not in event.heard
    ]
    for worker in waited_for:
        worker.last_seen = event.time
    heard = {worker_id: time for worker_id, time in state.heard.items() if worker_id in event.heard}
    state.heard = heard | {worker.worker_id: event.time for worker in waited_for}
    for job in state.jobs.values():
        job.forecasts.clear()


_HANDLERS: dict[type, Callable[[FarmState, Any], None]] = {
    ev.JobOpened: _job_opened,
    ev.JobPaused: _job_paused,
    ev.JobResumed: _job_resumed,
    ev.JobPrioritized: _job_prioritized,
    ev.JobCancelled: _job_cancelled,
    ev.JobEnded: _job_ended,
    ev.AttemptStarted: _attempt_started,
    ev.AttemptEnded: _attempt_ended,
    ev.ImageCommitted: _image_committed,
    ev.ImageFailed: _image_failed,
    ev.WorkerSetAside: _worker_set_aside,
    ev.WorkerJoined: _worker_joined,
    ev.WorkerChanged: worker_changed,
    ev.WorkerSeen: _worker_seen,
    ev.WorkerLeft: _worker_left,
    ev.WorkerSuspended: _worker_suspended,
    ev.WorkerDrained: _worker_drained,
    ev.WorkerUndrained: _worker_drained,
    ev.ResidentsChanged: _residents_changed,
    ev.VariantMeasured: variant_measured,
    ev.StageBegun: _stage_begun,
    ev.StepDone: _step_done,
    ev.ResultRefused: blame.note_refusal,
    ev.ClockJumped: _clock_jumped,
    ev.Planned: _planned,
}
