"""When jobs will end: their share of the farm taken as a fluid, within an interval learned from earlier forecasts."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate

from farm.domain import Pin, WorkerState
from farm.scheduler.cost import UNSURE
from farm.scheduler.fitting import Demand, fit
from farm.scheduler.forecast import Eta
from farm.scheduler.groups import Group
from farm.scheduler.plan import Late, Level, Plan, Way
from farm.scheduler.state import FarmState, LiveJob
from farm.scheduler.whole import Crew, least_seconds

LEAST_PART = 0.1
"""What is foretold never falls below this part of what it was when the plan was made: overdue is not done."""


def eta(state: FarmState, job: LiveJob, now: float) -> Eta | None:
    """When a job is expected to end; None while that cannot be told.

    That is while nothing of it runs or is planned to, or while nobody who could render it has ever rendered its like.
    """
    plan = state.plan
    if plan is None or job.job_id not in plan.ends or not job.is_active or not _is_priced(plan, job):
        return None
    end = plan.ends[job.job_id]
    return state.forecasts.interval(now, max(end - now, LEAST_PART * (end - plan.time)), job.settled_part)


def _is_priced(plan: Plan, job: LiveJob) -> bool:
    """Whether some machine is known to take how long for an image of a job; a draining one's own speed is."""
    ways = [way for (_, kind), way in plan.ways.items() if kind == job.kind.number]
    return not ways or any(way.deviation <= UNSURE for way in ways)


def eta_ahead(
    state: FarmState, demand: Demand, submitter: str, priority: int, image_count: int, now: float
) -> Eta | None:
    """When a job that is not there would end if it were submitted now and nothing else came.

    That is what its images take, and before them what comes before it. None while no machine that could render it now
    has rendered, with the same variant and compute unit, before.
    """
    able = [
        (group, way)
        for group in _groups(state, demand.pin)
        if isinstance(way := fit(state.rates, demand, group.facts), Way)
        and state.rates.is_measured(group.facts, way.offer, way.compute_unit)
    ]
    if not able:
        return None
    crews = [Crew(group.count, group.load_seconds(way), group.seconds(way)) for group, way in able]
    seconds = least_seconds(crews, image_count)
    return state.forecasts.interval(now, _before(state, submitter, priority, seconds) + seconds)


def _before(state: FarmState, submitter: str, priority: int, seconds: float) -> float:
    """Seconds of the whole farm that other jobs would have until one that comes now has had so many.

    As in a plan: first comes what has a higher priority, and at the same one the submitter's own jobs, while all
    submitters share evenly.
    """
    before = 0.0
    for level in state.plan.levels if state.plan is not None else ():
        if level.priority < priority:
            break
        waiting: dict[str, float] = {}
        for queue in level.queues.values():
            for name, job_ids in queue.jobs.items():
                left = sum(state.jobs[job_id].unsettled for job_id in job_ids if job_id in state.jobs)
                waiting[name] = waiting.get(name, 0.0) + level.prices[queue.kind] * left
        if level.priority > priority:
            before += sum(waiting.values())
        else:
            own = waiting.pop(submitter, 0.0)
            before += own + sum(min(theirs, own + seconds) for theirs in waiting.values())
    return before


def _groups(state: FarmState, pin: Pin) -> Iterable[Group]:
    """The rate groups, split by the labels that a pin asks for, as no live job may have asked for them yet."""
    if not pin.worker_labels:
        return state.groups.values()
    split: dict[tuple[Hashable, ...], Group] = {}
    for worker in state.workers.values():
        if worker.place is not None and worker.facts is not None:
            labels = (worker.facts.labels.get(key) for key in pin.worker_labels)
            group = replace(state.groups[worker.place.group], facts=worker.facts, count=0)
            split.setdefault((worker.place.group, *labels), group).count += 1
    return split.values()


def fluid_ends(
    state: FarmState,
    levels: Sequence[Level],
    ways: Mapping[tuple[int, int], Way],
    running: Iterable[Late],
    now: float,
) -> dict[str, float]:
    """When each job that waits or runs would end if its images were a fluid and nothing else came."""
    ends: dict[str, float] = {}
    for late in running:
        job = state.jobs[late.key.job_id]
        worker = state.workers[job.attempts[late.key.number].started.worker_id]
        if job.is_active and not job.is_runnable and worker.state in (WorkerState.ACTIVE, WorkerState.DRAINING):
            ends[job.job_id] = max(ends.get(job.job_id, now), late.finish)
    before = 0.0
    for level in levels:
        for job_id, seconds in _level_ends(state, level):
            ends[job_id] = max(ends.get(job_id, 0.0), now + before + seconds)
        before += sum(
            level.prices[queue.kind] * state.jobs[job_id].unsettled
            for queue in level.queues.values()
            for job_ids in queue.jobs.values()
            for job_id in job_ids
        )
    return {
        job_id: max(end, now + _without_those_aside(state, state.jobs[job_id], ways)) for job_id, end in ends.items()
    }


def _without_those_aside(state: FarmState, job: LiveJob, ways: Mapping[tuple[int, int], Way]) -> float:
    """Seconds that a job takes at least as some workers are set aside for it; 0 if none is.

    Where other jobs run, those workers do more of them and the job ends as if they were not; alone it ends by this.
    """
    aside = [worker_id for worker_id, standing in job.standings.items() if standing.aside]
    if not aside:
        return 0.0
    counts = Counter({key: group.count for key, group in state.groups.items()})
    counts.subtract(place.group for worker_id in aside if (place := state.workers[worker_id].place) is not None)
    rate = sum(
        count / state.groups[key].seconds(way)
        for key, count in counts.items()
        if (way := ways.get((key[0], job.kind.number))) is not None
    )
    return job.unsettled / rate if rate else 0.0


def _level_ends(state: FarmState, level: Level) -> Iterator[tuple[str, float]]:
    """Seconds until each job of a level ends: submitters share evenly, each does its jobs of a kind one after another.

    The LP's prices turn images of unlike kinds into one currency: seconds of the whole farm.
    """
    totals: dict[str, float] = {}
    lines: list[tuple[str, int, list[str], list[float]]] = []
    for queue in level.queues.values():
        for name, job_ids in queue.jobs.items():
            sums = list(accumulate(level.prices[queue.kind] * state.jobs[job_id].unsettled for job_id in job_ids))
            lines.append((name, queue.kind, list(job_ids), sums))
            totals[name] = totals.get(name, 0.0) + sums[-1]
    ordered = sorted(totals.values())
    sums_of_least = [0.0, *accumulate(ordered)]
    for name, kind, line, sums in lines:
        for job_id, done in zip(line, sums, strict=True):
            # When this much of the line is done, the same part of all that its submitter wants is.
            mine = done / sums[-1] * totals[name] if sums[-1] > 0 else 0.0
            smaller = bisect_right(ordered, mine)
            everybody = sums_of_least[smaller] + (len(ordered) - smaller) * mine
            yield job_id, everybody + level.surplus[kind]
