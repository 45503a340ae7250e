"""What follows from what a worker finds out about itself. Called by `transitions` alone."""

from farm.domain import WorkerFacts
from farm.errors import WrongStateError
from farm.scheduler import events as ev
from farm.scheduler.index import index_machine
from farm.scheduler.state import FarmState, Worker


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
    worker.facts = worker.facts.with_measurement(event.measurement)
    state.rates.measure(worker.worker_id, worker.facts, event.measurement)
    index_machine(state, worker)
    state.is_stale = True
