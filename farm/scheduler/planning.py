"""Plans for all live jobs and rate groups together: what `decide` follows until the next plan.

Jobs of the highest priority come first, with those that have waited so long that they count as such. Among equals every
submitter is owed the same work; how that is best spread over unlike machines is the LP's answer.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from farm.scheduler.eta import fluid_ends
from farm.scheduler.fitting import fit
from farm.scheduler.lp import balance
from farm.scheduler.plan import GroupKey, Level, Plan, Queue, Way
from farm.scheduler.running import running_tasks
from farm.scheduler.state import FarmState, Kind, LiveJob
from farm.scheduler.whole import Crew, surplus_seconds

PLAN_SECONDS = 1.0
"""The LP is solved at most so often; and so often while workers are idle beside others that render."""

REFRESH_SECONDS = 10.0
"""A plan is made anew after so long though nothing has changed but what remains."""

SMALL = 64
"""Pairs of groups and kinds, and jobs, up to which a plan costs so little that it is made at every change."""

ATTEMPTS_A_CELL = 8
"""Attempts that a plan looks through in the time that it takes for one such pair, about (50 us, measured)."""

CELLS_A_SECOND = 20_000
"""Pairs of groups and kinds that may be solved a second of farm time: the planner must not starve the loop."""

AGEING_SECONDS = 60.0
"""A job gains a point of priority for so long without a start, up to the highest priority there is."""

AGEING_LOADS = 10
"""It waits so many loads longer where a machine must load its model for it, and then again what that displaced."""

CHANGE = 0.02
"""Part of the time by which a machine must be quicker with another model to change to it."""

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
    kinds = {kind.number: kind for kind in state.kinds.values()}
    ways = dict(_ways(state, kinds))
    hands = dict(_hands(state, kinds, ways))
    by_level = _levels(state, _least_loads(state, ways, hands), now)
    served = _served(state, by_level)
    levels = tuple(
        _level(state, priority, by_level[priority], kinds, ways, hands, served)
        for priority in sorted(by_level, reverse=True)
    )
    is_tail = any(job.attempts and not job.is_runnable for job in state.jobs.values())
    running = running_tasks(state, ways, now) if is_tail or state.vacant[0] else ()
    attempts = sum(len(job.attempts) for job in state.jobs.values())
    cells = len(state.jobs) + sum(len(state.groups) * len(level.queues) for level in levels)
    cells += attempts // ATTEMPTS_A_CELL
    return Plan(
        time=now,
        interval=0.0 if cells <= SMALL else max(PLAN_SECONDS, cells / CELLS_A_SECOND),
        levels=levels,
        ways=ways,
        late=running if state.vacant[0] else (),
        ends=fluid_ends(state, levels, ways, running, now),
        served=served,
    )


def _hands(
    state: FarmState, kinds: Mapping[int, Kind], ways: Mapping[tuple[int, int], Way]
) -> Iterator[tuple[tuple[GroupKey, int], int]]:
    """How many workers of each group may render each kind: without those set aside for all jobs of it that wait."""
    aside = {number: _aside(state, kind) for number, kind in kinds.items()}
    for key, group in state.groups.items():
        for number in kinds:
            if (key[0], number) in ways and (hands := group.count - aside[number][key]) > 0:
                yield (key, number), hands


def _aside(state: FarmState, kind: Kind) -> Counter[GroupKey]:
    """Workers, by group, that are set aside for every job of a kind that waits."""
    jobs = [state.jobs[job_id] for job_id in kind.jobs if job_id in state.runnable]
    if not jobs:
        return Counter()
    aside = {name for name, standing in jobs[0].standings.items() if standing.aside}
    for job in jobs[1:]:
        aside = {name for name in aside if (standing := job.standings.get(name)) is not None and standing.aside}
    return Counter(place.group for name in aside if (place := state.workers[name].place) is not None)


def _least_loads(
    state: FarmState, ways: Mapping[tuple[int, int], Way], hands: Iterable[tuple[GroupKey, int]]
) -> dict[int, float]:
    """Seconds of the shortest load for each kind that somebody may render: 0 where somebody needs none."""
    least: dict[int, float] = {}
    for key, number in hands:
        load = state.groups[key].load_seconds(ways[key[0], number])
        least[number] = min(least.get(number, math.inf), load)
    return least


def _levels(state: FarmState, loads: Mapping[int, float], now: float) -> dict[int, list[LiveJob]]:
    """Jobs that wait and that somebody may render, by priority; one that has aged to the highest one is first in it.

    A job that nobody may render sets no bar for those that age.
    """
    jobs = [job for job_id in state.runnable if (job := state.jobs[job_id]).kind.number in loads]
    top = max((job.priority for job in jobs), default=0)
    aged = {job.job_id for job in jobs if _aged(job, loads[job.kind.number], now) >= top > job.priority}
    by_level: dict[int, list[LiveJob]] = {}
    for job in sorted(jobs, key=lambda job: (job.job_id not in aged, job.create_time, job.job_id)):
        by_level.setdefault(top if job.job_id in aged else job.priority, []).append(job)
    return by_level


def _aged(job: LiveJob, load_seconds: float, now: float) -> float:
    """A job's priority with what it has gained by waiting."""
    return job.priority + max(0.0, now - job.last_start - AGEING_LOADS * load_seconds) / AGEING_SECONDS


def _ways(state: FarmState, kinds: Mapping[int, Kind]) -> Iterator[tuple[tuple[int, int], Way]]:
    machines = {key[0]: group.facts for key, group in state.groups.items()}
    for machine, facts in machines.items():
        for number, kind in kinds.items():
            way = fit(state.rates, kind, facts)
            if isinstance(way, Way):
                yield (machine, number), way


def _served(state: FarmState, by_level: Mapping[int, Iterable[LiveJob]]) -> dict[str, float]:
    """What each submitter that takes part in the plan has had; who did not until now begins with what others have had.

    Nobody earns credit while nothing of theirs could run. The others are those of the newcomer's highest priority, if
    there are any: who waits at a lower one has had nothing, and stands no nearer for it.
    """
    accounts = state.accounts
    running: dict[int, set[str]] = {}
    for job in state.jobs.values():
        if job.attempts:
            running.setdefault(job.priority, set()).add(job.submitter)
    anybody = min((account.served for account in accounts.values() if account.takes_part), default=0.0)
    served: dict[str, float] = {}
    for priority in sorted(by_level.keys() | running.keys(), reverse=True):
        names = dict.fromkeys(job.submitter for job in by_level.get(priority, ()))
        names |= dict.fromkeys(sorted(running.get(priority, ())))
        least = min((accounts[name].served for name in names if accounts[name].takes_part), default=anybody)
        for name in names:
            if name not in served:
                had, takes_part = accounts[name].served, accounts[name].takes_part
                served[name] = had if takes_part else max(had, least)
    return served


def _level(
    state: FarmState,
    priority: int,
    jobs: Iterable[LiveJob],
    kinds: Mapping[int, Kind],
    ways: Mapping[tuple[int, int], Way],
    hands: Mapping[tuple[GroupKey, int], int],
    served: Mapping[str, float],
) -> Level:
    """Spreads the jobs of one priority over all groups."""
    queues: dict[int, dict[str, list[LiveJob]]] = {}
    for job in jobs:
        queues.setdefault(job.kind.number, {}).setdefault(job.submitter, []).append(job)
    counts = {key: float(group.count) for key, group in state.groups.items()}
    seconds = {
        (key, number): group.seconds(ways[key[0], number])
        for key, group in state.groups.items()
        for number in queues
        if (key, number) in hands
    }
    left = {number: sum(job.unsettled for jobs in queue.values() for job in jobs) for number, queue in queues.items()}
    loaded = _loaded(state, left, ways, counts, seconds)
    best = balance(counts, _demands(queues, kinds, seconds, counts, served), loaded)
    shares: dict[GroupKey, dict[int, float]] = {}
    rates = dict.fromkeys(queues, 0.0)
    crews: dict[int, list[Crew]] = {}
    for (key, number), time in best.times.items():
        shares.setdefault(key, {})[number] = time / (counts[key] * best.makespan)
        group, way = state.groups[key], ways[key[0], number]
        rates[number] += time / (best.makespan * seconds[key, number]) * (hands[key, number] / group.count)
        crew = Crew(hands[key, number], group.load_seconds(way), group.seconds(way))
        crews.setdefault(number, []).append(crew)
    return Level(
        priority=priority,
        queues={
            number: Queue(number, {name: tuple(job.job_id for job in jobs) for name, jobs in queue.items()})
            for number, queue in queues.items()
        },
        shares=shares,
        prices=best.prices,
        rates=rates,
        surplus={number: surplus_seconds(crews[number], images) for number, images in left.items()},
    )


def _alone(
    counts: Mapping[GroupKey, float], seconds: Mapping[tuple[GroupKey, int], float], number: int, images: int
) -> float:
    """Seconds that images of one kind would take if every group that can did nothing else."""
    return images / sum(counts[key] / cost for (key, kind), cost in seconds.items() if kind == number)


def _loaded(
    state: FarmState,
    left: Mapping[int, int],
    ways: Mapping[tuple[int, int], Way],
    counts: Mapping[GroupKey, float],
    seconds: Mapping[tuple[GroupKey, int], float],
) -> dict[tuple[GroupKey, int], float]:
    """Seconds of an image where a group that must load its model first does so once and stays with it to the end.

    The end is no earlier than the quickest first image of all. A load that lasts longer than all the work is dear in
    proportion, so that those who must load nevertheless are those who are done with it soonest. To change must be worth
    `CHANGE`, too: prices move a little with each image, and so would machines from model to model.
    """
    horizon = sum(_alone(counts, seconds, number, images) for number, images in left.items())
    loads = {pair: state.groups[pair[0]].load_seconds(ways[pair[0][0], pair[1]]) for pair in seconds}
    horizon = max(horizon, min((loads[pair] + cost for pair, cost in seconds.items()), default=0.0), 1e-9)
    parts = {pair: max(CHANGE, load / horizon) if load else 0.0 for pair, load in loads.items()}
    return {pair: cost * (1.0 + parts[pair]) for pair, cost in seconds.items()}


def _demands(
    queues: Mapping[int, Mapping[str, list[LiveJob]]],
    kinds: Mapping[int, Kind],
    seconds: Mapping[tuple[GroupKey, int], float],
    counts: Mapping[GroupKey, float],
    served: Mapping[str, float],
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
        quantum = FAIR_SECONDS * pace / len(totals)
        target = max(served[name] for name in totals) + quantum
        owed = {name: target - served[name] for name in totals}
    demands = dict.fromkeys(queues, 0.0)
    for (name, number), work in remaining.items():
        demands[number] += owed[name] * work / totals[name] / kinds[number].work
    return demands
