"""On whom a failed image is blamed: on itself, until another worker renders it.

A failed image goes to a worker that has not failed it, if there is one. If that one renders it, the failure is held
against the worker before; if it fails everywhere, it stays failed and nobody else is to blame. A worker that is blamed
for three is set aside for the job; one that fails three in a row waits until others have tried the same images, so that
a worker that returns garbage at once cannot burn through a job before the first of its images has been looked at twice.

What changes the state here is called by `transitions` alone.
"""

from collections.abc import Iterable
from dataclasses import replace

from farm.scheduler import events as ev
from farm.scheduler.state import FarmState, LiveJob
from farm.scheduler.trouble import Loss, Standing, Trouble

MAX_BLAME = 3
"""Failures of images that others rendered, after which a worker is set aside for the job."""

MAX_IN_A_ROW = 3
"""Failures in a row after which others are to say first whether it is the images or the worker."""

ATONEMENT = 10
"""Images that a worker must bring to make up for one that it failed: a rare mishap does not cost a farm a good Mac."""

ELSEWHERE_SECONDS = 300.0
"""So long a failed image waits for another worker; then it may be tried where it failed, too: the others may be wanted
for something more urgent."""

MAX_STRIKES = 3
"""An image that failed so often stays failed if nobody is left to try it; or if so many workers have, of whom one has
rendered others since: broken workers alone do not cost a job an image that a sound one would render."""

MAX_CRASHES = 5
"""The same for an image over which the renderer died: a prompt that kills the process must not stop a job for good.
More than MAX_STRIKES, as most deaths are the host's fault."""

MAX_TRIES = 10
"""An image stays failed after so many tries, even if there are workers that never got round to it."""


def note_failure(
    state: FarmState, job: LiveJob, index: int, worker_id: str, time: float, *, is_crash: bool = False
) -> None:
    """Remembers that an image failed on a worker, or that its renderer died over it."""
    trouble = job.troubles.setdefault(index, Trouble())
    trouble.strikes += not is_crash
    trouble.crashes += is_crash
    trouble.workers[worker_id] = trouble.workers.get(worker_id, 0) + 1
    trouble.time = time
    standing = job.standings.setdefault(worker_id, Standing())
    standing.in_a_row += 1
    standing.time = time
    state.workers[worker_id].failing[job.job_id] = standing


def clear_up(state: FarmState, job: LiveJob, index: int, by: str | None) -> None:
    """Draws the conclusions once an image is settled: committed by that worker, or given up (None)."""
    if by is not None:
        _atone(state, job, by)
    trouble = job.troubles.pop(index, None)
    if trouble is None:
        return
    for worker_id, count in trouble.workers.items():
        standing = job.standings.get(worker_id)
        if standing is None or worker_id == by:
            continue  # it was forgiven, or did in the end what it had failed to do
        if by is None:
            standing.in_a_row = 0
            continue
        standing.blame += count
        if standing.blame >= MAX_BLAME and not standing.aside:
            state.culprits.setdefault((job.job_id, worker_id))


def _atone(state: FarmState, job: LiveJob, worker_id: str) -> None:
    standing = job.standings.get(worker_id)
    if standing is None:
        return
    standing.in_a_row = 0
    standing.brought += 1
    if standing.brought == ATONEMENT:
        standing.brought, standing.blame = 0, max(0, standing.blame - 1)
    if standing.blame < MAX_BLAME:
        state.culprits.pop((job.job_id, worker_id), None)


def forgive(state: FarmState, worker_id: str) -> None:
    """Forgets what a worker failed, in all jobs."""
    worker = state.workers[worker_id]
    for job_id in worker.failing:
        del state.jobs[job_id].standings[worker_id]
        state.culprits.pop((job_id, worker_id), None)
    worker.failing.clear()


def forget(state: FarmState, job: LiveJob) -> None:
    """Forgets what workers failed of a job that is live no more."""
    for worker_id in job.standings:
        del state.workers[worker_id].failing[job.job_id]
        state.culprits.pop((job.job_id, worker_id), None)


def note_loss(job: LiveJob, started: ev.AttemptStarted, ended: ev.AttemptEnded) -> None:
    """Remembers that an attempt was lost, and why."""
    span = (started.first_index, started.image_count)
    job.losses.append(Loss(ended.time, started.number, started.worker_id, *span, ended.state, ended.reason))


def note_refusal(state: FarmState, event: ev.ResultRefused) -> None:
    """Remembers that a lost attempt delivered an image all the same, if its job is live still."""
    job = state.jobs.get(event.job_id)
    if job is None:
        return
    for position, loss in enumerate(job.losses):
        if loss.number == event.number:
            job.losses[position] = replace(loss, refused=loss.refused + 1)


def takes(state: FarmState, job: LiveJob, worker_id: str, now: float) -> bool:
    """Whether a worker may be given any of the job's images that wait."""
    standing = job.standings.get(worker_id)
    if standing is None:
        return True
    if standing.aside or must_wait(state, job, worker_id, now):
        return False
    return len(avoided(state, job, worker_id, now)) < len(job.pending)


def must_wait(state: FarmState, job: LiveJob, worker_id: str, now: float) -> bool:
    """Whether a worker has failed so many in a row that others are to try first."""
    standing = job.standings.get(worker_id)
    return (
        standing is not None
        and _is_suspect(standing)
        and now - standing.time < ELSEWHERE_SECONDS
        and is_left(state, job, (worker_id,))
    )


def avoided(state: FarmState, job: LiveJob, worker_id: str, now: float) -> frozenset[int]:
    """Images that wait and are not to be given to this worker, since it failed them and others can try."""
    if worker_id not in job.standings:
        return frozenset()
    return frozenset(
        index
        for index, trouble in job.troubles.items()
        if worker_id in trouble.workers
        and index in job.pending
        and now - trouble.time < ELSEWHERE_SECONDS
        and is_left(state, job, trouble.workers)
    )


def is_set_against(job: LiveJob, worker_id: str, images: Iterable[int]) -> bool:
    """Whether a worker that failed one of these images, or is not trusted with the job, would render them again."""
    standing = job.standings.get(worker_id)
    if standing is None:
        return False
    failed = (trouble for index in images if (trouble := job.troubles.get(index)) is not None)
    return bool(standing.aside) or _is_suspect(standing) or any(worker_id in trouble.workers for trouble in failed)


def is_left(state: FarmState, job: LiveJob, tried: Iterable[str]) -> bool:
    """Whether some other worker is there that can render the job and is trusted with it."""
    ways = {} if state.plan is None else state.plan.ways
    number = job.kind.number
    able = sum(group.count for key, group in state.groups.items() if (key[0], number) in ways)
    distrusted = {name for name, standing in job.standings.items() if standing.aside or _is_suspect(standing)}
    for worker_id in distrusted.union(tried):
        place = state.workers[worker_id].place
        able -= place is not None and (place.group[0], number) in ways
    return able > 0


def _is_suspect(standing: Standing) -> bool:
    return standing.in_a_row >= MAX_IN_A_ROW


def is_hopeless(state: FarmState, job: LiveJob, index: int, worker_id: str, *, is_crash: bool = False) -> bool:
    """Whether an image that fails now, on this worker, is to stay failed."""
    trouble = job.troubles.get(index, Trouble())
    tries, limit = (trouble.crashes, MAX_CRASHES) if is_crash else (trouble.strikes, MAX_STRIKES)
    tried = {*trouble.workers, worker_id}
    if tries + 1 >= MAX_TRIES:
        return True
    is_proven = len(tried) >= MAX_STRIKES and any(_has_done_well(job, name) for name in trouble.workers)
    return tries + 1 >= limit and (is_proven or not is_left(state, job, tried))


def _has_done_well(job: LiveJob, worker_id: str) -> bool:
    """Whether a worker that failed images of the job has rendered others since."""
    standing = job.standings.get(worker_id)
    return standing is not None and not standing.in_a_row


def culprit(state: FarmState) -> tuple[LiveJob, str] | None:
    """A worker that is to be set aside for a job now; never the last one that is left to render it."""
    for job_id, worker_id in state.culprits:
        job = state.jobs[job_id]
        if is_left(state, job, (worker_id,)):
            return job, worker_id
    return None
