"""What is learned of speeds and forecasts, from what workers measure and from images. Called by `transitions` alone."""

from farm.domain import WorkerFacts
from farm.errors import WrongStateError
from farm.scheduler import events as ev
from farm.scheduler.cost import UNSURE, Sample
from farm.scheduler.forecast import checkpoint
from farm.scheduler.index import index_machine, index_worker
from farm.scheduler.plan import Plan
from farm.scheduler.state import Attempt, FarmState, LiveJob, Worker

RECENT = 0.2
"""Weight of the newest image in what a worker's images took lately."""


def take_facts(state: FarmState, worker: Worker, facts: WorkerFacts) -> None:
    """Takes what a worker says it is, and what it has measured, in place of what it said before."""
    if worker.facts != facts:
        worker.facts = facts
        state.rates.calibrate(worker.worker_id, facts)


def worker_changed(state: FarmState, event: ev.WorkerChanged) -> None:
    """Takes the new facts; what is planned may be wrong now."""
    worker = state.worker(event.worker_id)
    if worker.facts is None:
        raise WrongStateError(f"Worker {event.worker_id} has not joined.", worker=event.worker_id)
    take_facts(state, worker, event.facts)
    index_machine(state, worker)
    state.is_stale = True


def variant_measured(state: FarmState, event: ev.VariantMeasured) -> None:
    """Takes it to the worker's facts and to what is known of speeds and memory; what is planned may be wrong now."""
    worker = state.worker(event.worker_id)
    if worker.facts is None:
        raise WrongStateError(f"Worker {event.worker_id} has not joined.", worker=event.worker_id)
    measured, before = event.measurement, worker.facts
    worker.facts = before.with_measurement(measured)
    if worker.facts == before:
        return
    state.rates.measure(worker.worker_id, worker.facts, worker.facts.measured(measured.digest, measured.compute_unit))
    index_machine(state, worker)
    state.is_stale = True


def learn_image(state: FarmState, job: LiveJob, attempt: Attempt, event: ev.ImageCommitted) -> None:
    """Takes what an image took to what is known of speeds."""
    worker, started = state.workers[event.worker_id], attempt.started
    error = event.render_seconds - worker.image_seconds
    worker.image_seconds += error * (RECENT if worker.image_seconds else 1.0)
    steps = event.evaluations or job.kind.steps
    use = (started.model_digest, started.compute_unit)
    sample = Sample(*use, steps, event.render_seconds, event.denoise_seconds)
    if worker.facts is None:
        # A journal that is replayed names workers before they have joined.
        worker.samples[use] = sample
    else:
        state.is_stale |= state.rates.learn(worker.worker_id, worker.facts, sample)
        index_worker(state, worker)


def note_forecasts(state: FarmState, plan: Plan) -> None:
    """Remembers what the plan foretells, to learn from when the jobs have ended.

    What rests on a price that nobody has measured says nothing of how forecasts fare, and is not remembered.
    """
    unsure = {kind for (_, kind), way in plan.ways.items() if way.deviation > UNSURE}
    for job_id, end in plan.ends.items():
        job = state.jobs[job_id]
        if job.kind.number not in unsure:
            job.forecasts.setdefault(checkpoint(job.settled_part), (plan.time, end))
