"""Follows the plan: which job an idle worker of a rate group gets next, how much of it, and whose task it doubles."""

import math

from farm.scheduler.blame import is_set_against, takes
from farm.scheduler.cost import UNSURE
from farm.scheduler.groups import DEPTH, Group, Place, is_resident
from farm.scheduler.plan import GroupKey, Level, Plan, Queue, Way
from farm.scheduler.state import Attempt, FarmState, LiveJob, Worker

TASK_SECONDS = 30.0
"""A task is cut to about this much work: little is lost with a worker, and nothing is spent on placing."""

TASK_IMAGES = 256
"""A task has at most so many images: its prompts are read, completed and sent in one piece, which must not hold others
up. Only images of a tenth of a second reach it."""

UNKNOWN_TASK_IMAGES = 2
"""Images in a task while nobody knows how long they take."""

TASK_PART = 2
"""A task is at most this part of a worker's share of what waits: large first, small at the tail, where a large one
would keep the others waiting (guided self-scheduling, Polychronopoulos and Kuck 1987)."""

CANDIDATES = 64
"""Late tasks that an idle group looks at."""

LEAD_SECONDS = 300.0
"""A group stays with a model until the submitter it works for is so much of the group's time ahead of another who waits
for it: models change seldom, and nobody waits for good where one machine must serve all."""

GAIN = 0.9
"""Who joins others in a task must be thought to do so within this part of the time that they still take."""


def choose(state: FarmState, plan: Plan, worker_id: str, place: Place, now: float) -> tuple[LiveJob, Way, int] | None:
    """The job that a worker gets, with what it renders it, and how many images; None for none now.

    Args:
        state: The farm.
        plan: The newest plan.
        worker_id: The worker.
        place: Its rate group, how many attempts it holds, and the kind of the newest.
        now: The time.
    """
    key, group = place.group, state.groups[place.group]
    for level in plan.levels:
        shares = level.shares.get(key, {})
        firsts = {
            number: (way, job)
            for number, queue in level.queues.items()
            if (way := plan.ways.get((key[0], number))) is not None
            and (job := _first(state, queue, worker_id, now)) is not None
        }
        least = min((state.accounts[job.submitter].served for _, job in firsts.values()), default=0.0)
        best: tuple[tuple[bool, bool, float], LiveJob, Way, float] | None = None
        for number, (way, job) in firsts.items():
            left = job.kind.unsettled / level.rates[number]
            # Slow workers sit out the tail, where an image that they begin would be the last.
            is_late = first_image_seconds(group, place, way) > left + level.surplus[number]
            if is_late and ends_alone(state, number):
                continue
            lead = (state.accounts[job.submitter].served - least) / job.kind.work * group.seconds(way) / group.count
            stays = lead <= LEAD_SECONDS and group.load_seconds(way) == 0.0
            rank = _rank(group, level, number, way, shares.get(number, 0.0), stays)
            if best is None or rank > best[0]:
                best = rank, job, way, left
        if best is not None:
            _, job, way, left = best
            return job, way, _task_size(group, way, left * job.kind.waiting / job.kind.unsettled)
    return None


def is_loading_long(state: FarmState, plan: Plan, worker: Worker) -> bool:
    """Whether a worker must load for longer than a task takes before it begins what it holds.

    It gets its next task once it renders: until then others may be done with it.
    """
    if not worker.attempts:
        return False
    started = state.attempt(worker.attempts[0]).started
    if is_resident(worker.residents, started.model_digest, started.compute_unit):
        return False
    way = plan.ways.get((worker.machine, state.jobs[started.job_id].kind.number))
    return way is not None and way.load_seconds > TASK_SECONDS


def soonest_seconds(state: FarmState, plan: Plan, key: GroupKey) -> float:
    """Seconds after which a worker of a group that has nothing to do could have rendered an image of what waits."""
    group = state.groups[key]
    ways = (plan.ways.get((key[0], number)) for level in plan.levels for number in level.queues)
    return min((group.load_seconds(way) + group.seconds(way) for way in ways if way is not None), default=math.inf)


def ends_alone(state: FarmState, number: int) -> bool:
    """Whether the last images of a kind can be left to others: somebody renders it, and nobody has anything else to do.

    A worker that must finish something else first cannot be counted on to be there in time.
    """
    kinds = {kind for group in state.groups.values() for kind in group.occupied}
    return kinds == {number}


def first_image_seconds(group: Group, place: Place, way: Way) -> float:
    """Seconds until a worker would have rendered one image of a kind, after one of each task that it holds."""
    return group.seconds(way) * (place.depth + 1) + group.load_seconds(way)


def _first(state: FarmState, queue: Queue, worker_id: str, now: float) -> LiveJob | None:
    """The oldest job that the worker may have, of the submitter who had least so far."""
    jobs = state.jobs
    accounts = state.accounts
    least: tuple[float, LiveJob] | None = None
    for name, job_ids in queue.jobs.items():
        if least is None or (name in accounts and accounts[name].served < least[0]):
            mine = (one for one in job_ids if one in state.runnable and takes(state, jobs[one], worker_id, now))
            job_id = next(mine, None)
            if job_id is not None:
                least = accounts[name].served, jobs[job_id]
    return None if least is None else least[1]


def _rank(group: Group, level: Level, number: int, way: Way, share: float, stays: bool) -> tuple[bool, bool, float]:
    """Sorts kinds of jobs for a group: what the plan has it work on first, then what it is comparatively best at.

    Of what is planned, it is whatever is furthest behind its share. Staying with a model outweighs that the worker
    counts as one that works on it already, so nobody changes models for the sake of a fraction.
    """
    if share > 0:
        return True, True, share * group.count - group.occupied.get(number, 0) + (DEPTH if stays else 0)
    return False, stays, level.prices[number] / group.seconds(way)


def _task_size(group: Group, way: Way, waiting: float) -> int:
    """Images in a task; `waiting` is how many seconds the images that wait are for all workers together."""
    if way.deviation > UNSURE:
        return UNKNOWN_TASK_IMAGES
    images = min(TASK_SECONDS, waiting / TASK_PART) / max(group.seconds(way), 1e-6)
    return max(1, min(TASK_IMAGES, math.floor(images)))


def choose_late(state: FarmState, plan: Plan, key: GroupKey, worker_id: str, now: float) -> tuple[Attempt, Way] | None:
    """The running task that an idle worker of a group is to render as well, with what; None for none.

    The first valid image counts, whoever brings it; the task's other attempts end with its last image.
    """
    if not plan.late:
        return None
    group = state.groups[key]
    kinds = {late.kind for late in plan.late[:CANDIDATES]}
    least = min((group.seconds(way) for kind in kinds if (way := plan.ways.get((key[0], kind)))), default=math.inf)
    for late in plan.late[:CANDIDATES]:
        if least > GAIN * (late.finish - now):
            return None  # what follows ends even earlier
        job = state.jobs.get(late.key.job_id)
        attempt = job.attempts.get(late.key.number) if job else None
        way = plan.ways.get((key[0], late.kind))
        if job is None or attempt is None or way is None or not job.is_active:
            continue
        task = attempt.task
        if not task.remaining or is_set_against(job, worker_id, task.remaining):
            continue
        if any(job.attempts[number].started.worker_id == worker_id for number in task.attempts):
            continue
        if max(task.attempts) > late.newest:
            continue  # somebody joined since the plan, which does not know how much earlier it ends so
        # The second attempt meets the first one half-way, so an image may be enough; one more must beat both.
        images = 1 if len(task.attempts) == 1 else len(task.remaining)
        if group.load_seconds(way) + images * group.seconds(way) <= GAIN * (late.finish - now):
            return attempt, way
    return None
