"""What follows from a measurement that a worker tells while it is there. Called by `transitions` alone."""

from farm.errors import WrongStateError
from farm.scheduler import events as ev
from farm.scheduler.index import index_machine
from farm.scheduler.state import FarmState


def variant_measured(state: FarmState, event: ev.VariantMeasured) -> None:
    """Takes it to the worker's facts and to what is known of speeds and memory; what is planned may be wrong now."""
    worker = state.worker(event.worker_id)
    if worker.facts is None:
        raise WrongStateError(f"Worker {event.worker_id} has not joined.", worker=event.worker_id)
    worker.facts = worker.facts.with_measurement(event.measurement)
    state.rates.measure(worker.worker_id, worker.facts, event.measurement)
    index_machine(state, worker)
    state.is_stale = True
