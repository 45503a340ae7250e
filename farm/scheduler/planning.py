"""Plans for all live jobs and rate groups together: what `decide` follows until the next plan.

Jobs of the highest priority come first, with those that have waited so long that they count as such. Among equals every
submitter is owed the same work; how that is best spread over unlike machines is the LP's answer.
"""

import math
from collections.abc import Iterable, Iterator, Mapping

from farm.scheduler.eta import fluid_ends
from farm.scheduler.fitting import fit
from farm.scheduler.lp import balance
from farm.scheduler.plan import GroupKey, Late, Level, Plan, Queue, Way
from farm.scheduler.state import FarmState, Kind, LiveJob, Worker

PLAN_SECONDS = 1.0
"""The LP is solved at most so often; and so often while workers are idle beside others that render."""

REFRESH_SECONDS = 10.0
"""A plan is made anew after so long though nothing has changed but what remains."""

SMALL = 64
"""Pairs of groups and kinds, and jobs, up to which a plan costs so little that it is made at every change."""

CELLS_A_SECOND = 20_000
"""Pairs of groups and kinds that may be solved a second of farm time: the planner must not starve the loop."""

AGEING_SECONDS = 60.0
"""A job gains a point of priority for so long without a start, up to the highest priority there is."""

AWAY_SECONDS = 60.0
"""A task of a suspended or drained worker is thought to end so late: nobody knows when, and idle workers are free."""

FAIR_SECONDS = 600.0
"""What submitters are owed is reckoned so that all have had the same this long from now."""


def due_time(state: FarmState) -> float | None:
    """When the next plan must be made; None while nothing lives that needs one."""
    if not state.jobs:
        return None
    if state.plan is None:
        return 0.0
    if state.is_stale:
        return state.plan.time + state.plan.interval
    is_tail = bool(state.vacant[0]) and any(job.attempts for job in state.jobs.values())
    return state.plan.time + max(state.plan.interval, PLAN_SECONDS if is_tail else REFRESH_SECONDS)


def make_plan(state: FarmState, now: float) -> Plan:
    """The plan that the state calls for; the same state gives the same plan."""
    by_level = _levels(state, now)
    kinds = {kind.number: kind for kind in state.kinds.values()}
    ways = dict(_ways(state, kinds))
    levels = tuple(
        level
        for priority in sorted(by_level, reverse=True)
        if (level := _level(state, priority, by_level[priority], kinds, ways)) is not None
    )
    cells = len(state.jobs) + sum(len(state.groups) * len(level.queues) for level in levels)
    return Plan(
        time=now,
        interval=0.0 if cells <= SMALL else max(PLAN_SECONDS, cells / CELLS_A_SECOND),
        levels=levels,
        ways=ways,
        late=_late(state, ways, now) if state.vacant[0] else (),
        ends=fluid_ends(state, levels, ways, now),
    )


def _levels(state: FarmState, now: float) -> dict[int, list[LiveJob]]:
    """Jobs that wait, by priority; one that has aged to the highest one stands first in it."""
    jobs = [state.jobs[job_id] for job_id in state.runnable]
    top = max((job.priority for job in jobs), default=0)
    aged = {job.job_id for job in jobs if _aged(job, now) >= top > job.priority}
    by_level: dict[int, list[LiveJob]] = {}
    for job in sorted(jobs, key=lambda job: (job.job_id not in aged, job.create_time, job.job_id)):
        by_level.setdefault(top if job.job_id in aged else job.priority, []).append(job)
    return by_level


def _aged(job: LiveJob, now: float) -> float:
    return job.priority + (now - job.last_start) / AGEING_SECONDS


def _ways(state: FarmState, kinds: Mapping[int, Kind]) -> Iterator[tuple[tuple[int, int], Way]]:
    machines = {key[0]: group.facts for key, group in state.groups.items()}
    for machine, facts in machines.items():
        for number, kind in kinds.items():
            way = fit(state.rates, kind, facts)
            if isinstance(way, Way):
                yield (machine, number), way


def _level(
    state: FarmState,
    priority: int,
    jobs: Iterable[LiveJob],
    kinds: Mapping[int, Kind],
    ways: Mapping[tuple[int, int], Way],
) -> Level | None:
    """Spreads the jobs of one priority over all groups; None if no group can render any of them."""
    able = {number for _, number in ways}
    queues: dict[int, dict[str, list[LiveJob]]] = {}
    for job in jobs:
        if job.kind.number in able:
            queues.setdefault(job.kind.number, {}).setdefault(job.submitter, []).append(job)
    if not queues:
        return None
    counts = {key: float(group.count) for key, group in state.groups.items()}
    seconds = {
        (key, number): group.seconds(way)
        for key, group in state.groups.items()
        for number in queues
        if (way := ways.get((key[0], number))) is not None
    }
    loaded = _loaded(state, queues, ways, counts, seconds)
    best = balance(counts, _demands(state, queues, kinds, seconds, counts), loaded)
    shares: dict[GroupKey, dict[int, float]] = {}
    rates = dict.fromkeys(queues, 0.0)
    quickest: dict[int, float] = {}
    for (key, number), time in best.times.items():
        shares.setdefault(key, {})[number] = time / (counts[key] * best.makespan)
        rates[number] += time / (best.makespan * seconds[key, number])
        group, way = state.groups[key], ways[key[0], number]
        quickest[number] = min(quickest.get(number, math.inf), group.seconds(way) + group.load_seconds(way))
    return Level(
        priority=priority,
        queues={
            number: Queue(number, {name: tuple(job.job_id for job in jobs) for name, jobs in queue.items()})
            for number, queue in queues.items()
        },
        shares=shares,
        prices=best.prices,
        rates=rates,
        quickest=quickest,
    )


def _alone(
    counts: Mapping[GroupKey, float], seconds: Mapping[tuple[GroupKey, int], float], number: int, images: int
) -> float:
    """Seconds that images of one kind would take if every group that can did nothing else."""
    return images / sum(counts[key] / cost for (key, kind), cost in seconds.items() if kind == number)


def _loaded(
    state: FarmState,
    queues: Mapping[int, Mapping[str, list[LiveJob]]],
    ways: Mapping[tuple[int, int], Way],
    counts: Mapping[GroupKey, float],
    seconds: Mapping[tuple[GroupKey, int], float],
) -> dict[tuple[GroupKey, int], float]:
    """Seconds of an image where a group that must load its model first does so once and stays with it to the end."""
    horizon = sum(
        _alone(counts, seconds, number, sum(job.unsettled for jobs in queue.values() for job in jobs))
        for number, queue in queues.items()
    )
    loads = {pair: state.groups[pair[0]].load_seconds(ways[pair[0][0], pair[1]]) for pair in seconds}
    return {pair: cost * (1.0 + loads[pair] / max(horizon, loads[pair], 1e-9)) for pair, cost in seconds.items()}


def _demands(
    state: FarmState,
    queues: Mapping[int, Mapping[str, list[LiveJob]]],
    kinds: Mapping[int, Kind],
    seconds: Mapping[tuple[GroupKey, int], float],
    counts: Mapping[GroupKey, float],
) -> dict[int, float]:
    """Images of each kind to plan for: what each submitter is owed, spread over its kinds by what remains of them.

    With one submitter that is all that remains, so the plan is that of the least makespan.
    """
    remaining = {
        (name, number): sum(job.unsettled for job in jobs) * kinds[number].work
        for number, queue in queues.items()
        for name, jobs in queue.items()
    }
    totals: dict[str, float] = {}
    for (name, _), work in remaining.items():
        totals[name] = totals.get(name, 0.0) + work
    if len(totals) == 1:
        owed = totals
    else:
        pace = max(counts[key] * kinds[number].work / cost for (key, number), cost in seconds.items())
        served = {name: state.accounts[name].served for name in totals}
        quantum = FAIR_SECONDS * pace / len(totals)
        target = max(served.values()) + quantum
        owed = {name: target - served[name] for name in totals}
    demands = dict.fromkeys(queues, 0.0)
    for (name, number), work in remaining.items():
        demands[number] += owed[name] * work / totals[name] / kinds[number].work
    return demands


def _late(state: FarmState, ways: Mapping[tuple[int, int], Way], now: float) -> tuple[Late, ...]:
    """Running tasks, each by its quickest attempt, the one that is thought to end last first."""
    late: dict[tuple[str, int], Late] = {}
    for worker in state.workers.values():
        for task, one in _ends(state, worker, ways, now):
            late[task] = min(late.get(task, one), one, key=lambda late: (late.finish, late.key))
    return tuple(sorted(late.values(), key=lambda late: (-late.finish, late.key)))


def _ends(
    state: FarmState, worker: Worker, ways: Mapping[tuple[int, int], Way], now: float
) -> Iterator[tuple[tuple[str, int], Late]]:
    """When a worker's attempts will end if nobody helps, with their tasks (job, number)."""
    finish = now
    for key in worker.attempts:
        job = state.jobs[key.job_id]
        attempt, way = job.attempts[key.number], ways.get((worker.machine, job.kind.number))
        if worker.place is None or way is None:
            finish = max(finish, now + AWAY_SECONDS)
        else:
            seconds = state.groups[worker.place.group].seconds(way)
            elapsed = now - attempt.since if key == worker.attempts[0] else 0.0
            # An image that takes longer than it should will take as long again, as far as anybody can tell.
            current = seconds - elapsed if elapsed < seconds else elapsed
            finish += current + (len(attempt.task.remaining) - 1) * max(seconds, elapsed)
        yield (key.job_id, attempt.task.number), Late(finish, key, job.kind.number, max(attempt.task.attempts))
