"""Keeps the indexes of the state true to its jobs and workers. Called by `transitions`, after each change of either."""

from collections.abc import Mapping

from farm.domain import Resident, WorkerFacts, WorkerState
from farm.scheduler.groups import DEPTH, Group, Place, is_resident
from farm.scheduler.state import Account, FarmState, LiveJob, Worker


def open_kind(state: FarmState, job: LiveJob) -> None:
    """Enters a job that became live: its kind, its submitter's account, the labels that it asks for."""
    kind = job.kind = state.kinds.setdefault(job.kind.key, job.kind)
    if not kind.number:
        state.kind_count += 1
        kind.number = state.kind_count
    kind.jobs[job.job_id] = None
    kind.unsettled += job.unsettled
    newcomer = min((account.served for account in state.accounts.values()), default=0.0)
    state.accounts.setdefault(job.submitter, Account(served=newcomer)).job_count += 1
    _count_labels(state, job, 1)


def close_kind(state: FarmState, job: LiveJob) -> None:
    """Removes a job that is live no more."""
    kind = job.kind
    kind.unsettled -= job.unsettled
    del kind.jobs[job.job_id]
    if not kind.jobs:
        del state.kinds[kind.key]
    account = state.accounts[job.submitter]
    account.job_count -= 1
    if not account.job_count:
        del state.accounts[job.submitter]
    _count_labels(state, job, -1)


def index_accounts(state: FarmState, served: Mapping[str, float]) -> None:
    """Enters who takes part in a new plan, and what they begin with."""
    for name, account in state.accounts.items():
        account.takes_part = name in served
        account.served = served.get(name, account.served)


def _count_labels(state: FarmState, job: LiveJob, change: int) -> None:
    """Labels tell machines apart only while a live job asks for them, or each worker would be a sort of its own."""
    known = set(state.labels)
    for key in job.spec.pin.worker_labels:
        state.labels[key] = state.labels.get(key, 0) + change
        if not state.labels[key]:
            del state.labels[key]
    if known != set(state.labels):
        for worker in state.workers.values():
            index_machine(state, worker)


def index_job(state: FarmState, job: LiveJob) -> None:
    """Brings up to date what is known of a job's readiness. One whose images wait again is not in the plan."""
    if job.is_runnable and job.job_id not in state.runnable:
        state.is_stale = True
    waiting = len(job.pending) if job.is_runnable else 0
    job.kind.waiting += waiting - job.counted
    job.counted = waiting
    _keep(state.runnable, job.job_id, job.is_runnable)
    _keep(state.settled, job.job_id, job.is_settled)


def index_machine(state: FarmState, worker: Worker) -> None:
    """Finds out what sort of machine a worker is."""
    if worker.facts is not None:
        worker.machine = state.machines.setdefault(_sort(state, worker.facts), len(state.machines) + 1)
        index_worker(state, worker)


def _sort(state: FarmState, facts: WorkerFacts) -> tuple[object, ...]:
    labels = tuple((key, facts.labels.get(key)) for key in sorted(state.labels))
    return (
        facts.chip,
        facts.chip_class,
        facts.gpu_cores,
        facts.memory_bytes,
        facts.runtime,
        facts.compute_units,
        facts.offers,
        frozenset((one.digest, one.compute_unit) for one in facts.measurements if one.failure),
        frozenset((one.digest, one.compute_unit) for one in facts.measurements if one.was_loaded),
        labels,
    )


def index_worker(state: FarmState, worker: Worker) -> None:
    """Moves a worker to the rate group and the depth where it belongs now."""
    place = _place(state, worker)
    if place == worker.place:
        return
    if worker.place is not None:
        _leave(state, worker, worker.place)
    worker.place = place
    if place is not None:
        _enter(state, worker, place)


def _place(state: FarmState, worker: Worker) -> Place | None:
    if worker.facts is None or worker.state is not WorkerState.ACTIVE:
        return None
    newest = state.jobs[worker.attempts[-1].job_id].kind.number if worker.attempts else None
    residency = state.residencies.setdefault(residents_to_come(state, worker), len(state.residencies))
    group = (worker.machine, state.rates.pace(worker.worker_id), residency)
    return Place(group, len(worker.attempts), newest)


def residents_to_come(state: FarmState, worker: Worker) -> tuple[Resident, ...]:
    """What a worker will have loaded when it has rendered all that it holds."""
    if not worker.attempts:
        return worker.residents
    started = state.attempt(worker.attempts[-1]).started
    if is_resident(worker.residents, started.model_digest, started.compute_unit):
        return worker.residents
    model = state.jobs[started.job_id].spec.model
    return (Resident(model, started.model_digest, started.compute_unit),)


def _leave(state: FarmState, worker: Worker, place: Place) -> None:
    group = state.groups[place.group]
    group.count -= 1
    if place.kind is not None:
        group.occupied[place.kind] -= 1
        if not group.occupied[place.kind]:
            del group.occupied[place.kind]
    if place.depth < DEPTH:
        del group.vacant[place.depth][worker.worker_id]
        _keep_group(state, place, group)
    if not group.count:
        del state.groups[place.group]


def _enter(state: FarmState, worker: Worker, place: Place) -> None:
    group = state.groups.get(place.group)
    if group is None:
        assert worker.facts is not None, "only workers that have joined are in a group"
        group = state.groups[place.group] = Group(worker.facts, place.group[1], residents_to_come(state, worker))
    group.count += 1
    if place.kind is not None:
        group.occupied[place.kind] = group.occupied.get(place.kind, 0) + 1
    if place.depth == 0:
        state.is_stale = True  # who has nothing to do wants a plan that knows what is late by now
    if place.depth < DEPTH:
        group.vacant[place.depth][worker.worker_id] = None
        _keep_group(state, place, group)


def _keep_group(state: FarmState, place: Place, group: Group) -> None:
    index, belongs = state.vacant[place.depth], bool(group.vacant[place.depth])
    if belongs:
        index.setdefault(place.group)
    else:
        index.pop(place.group, None)


def _keep(index: dict[str, None], name: str, belongs: bool) -> None:
    if belongs:
        index.setdefault(name)
    else:
        index.pop(name, None)
