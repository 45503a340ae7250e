"""When what runs will end, if nobody helps: for who could bring it in earlier, and for when its job ends."""

from collections.abc import Iterator, Mapping

from farm.domain import WorkerState
from farm.scheduler.groups import is_resident
from farm.scheduler.plan import Late, Way
from farm.scheduler.state import FarmState, Worker

AWAY_SECONDS = 60.0
"""A task of a worker that cannot work now is thought to end so late: nobody knows when, and idle workers are free."""


def running_tasks(state: FarmState, ways: Mapping[tuple[int, int], Way], now: float) -> tuple[Late, ...]:
    """Running tasks, each by its quickest attempt, the one that is thought to end last first."""
    late: dict[tuple[str, int], Late] = {}
    for worker in state.workers.values():
        for task, one in _ends(state, worker, ways, now):
            late[task] = min(late.get(task, one), one, key=lambda late: (late.finish, late.key))
    return tuple(sorted(late.values(), key=lambda late: (-late.finish, late.key)))


def _ends(
    state: FarmState, worker: Worker, ways: Mapping[tuple[int, int], Way], now: float
) -> Iterator[tuple[tuple[str, int], Late]]:
    """When a worker's attempts will end, one after the other, with their tasks (job, number)."""
    finish, before = now, None
    for key in worker.attempts:
        job = state.jobs[key.job_id]
        attempt, way = job.attempts[key.number], ways.get((worker.machine, job.kind.number))
        use = (attempt.started.model_digest, attempt.started.compute_unit)
        if worker.state is WorkerState.DRAINING and worker.image_seconds:
            finish += worker.image_seconds * len(attempt.task.remaining)
        elif worker.place is None or way is None:
            finish = max(finish, now + AWAY_SECONDS)
        else:
            is_loaded = use == before if before else is_resident(worker.residents, *use)
            load = 0.0 if is_loaded else way.load_seconds
            seconds = state.groups[worker.place.group].seconds(way)
            elapsed = 0.0 if before else now - attempt.since
            # What takes longer than it should will take as long again, as far as anybody can tell; but a load says
            # nothing of the images after it.
            current = load + seconds - elapsed if elapsed < load + seconds else elapsed
            following = max(seconds, elapsed) if is_loaded else seconds
            finish += current + (len(attempt.task.remaining) - 1) * following
        before = use
        yield (key.job_id, attempt.task.number), Late(finish, key, job.kind.number, max(attempt.task.attempts))
