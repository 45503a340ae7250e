"""The least time in which a fleet could do a workload, knowing everything: what a run is measured against.

Work is taken as divisible, Macs of a kind as one pool of capacity, and each Mac's time is what its faults leave of it,
less one load of its quickest model unless nothing needs to be loaded. No schedule can be faster.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from farm.scheduler import events as ev
from farm.scheduler.lp import balance
from farm.simulator.faults import Upset
from farm.simulator.mac import Mac
from farm.simulator.scenario import POLICIES
from farm.simulator.speeds import MODELS, speeds

ROUNDS = 50
"""Halvings of the interval in which the bound is looked for."""

MOMENTS = 32
"""Arrivals that are looked at as possible starts, at most."""

Pool = tuple[str, int, tuple[str, ...], tuple[tuple[str, str], ...]]
"""Macs that differ in nothing but a factor: chip, GPU cores, models, labels."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a Mac has to give from `start` to `stop`: seconds of work of a Mac of factor 1, a second."""

    pool: Pool
    start: float
    stop: float
    rate: float


@dataclass(frozen=True, slots=True)
class Kind:
    """Images that cost the same."""

    model: str
    steps: int
    labels: tuple[tuple[str, str], ...]


def fluid_bound(
    macs: Sequence[Mac],
    joins: Sequence[float],
    jobs: Sequence[ev.JobOpened],
    upsets: Iterable[Upset],
    loads: bool = True,
) -> float:
    """Seconds after the start before which the last job cannot have ended.

    Args:
        macs: The Macs.
        joins: When each joins.
        jobs: The jobs.
        upsets: What happens to the Macs.
        loads: Whether each Mac must load a model before it can render.
    """
    capacities = list(_capacities(macs, joins, upsets, loads))
    times = sorted({job.time for job in jobs})
    starts = times[:: max(1, len(times) // MOMENTS)]
    return max(_bound_from(start, capacities, [job for job in jobs if job.time >= start]) for start in starts)


def _bound_from(start: float, capacities: Sequence[Capacity], jobs: Sequence[ev.JobOpened]) -> float:
    """When all of these jobs could be done, if all of them were there at `start` and nothing was before."""
    demands: dict[Kind, float] = {}
    for job in jobs:
        kind = Kind(job.spec.model, job.spec.defaults.steps or 1, tuple(sorted(job.spec.pin.worker_labels.items())))
        demands[kind] = demands.get(kind, 0.0) + job.image_count
    low, high = start, start + 1.0
    while not _suffices(capacities, demands, start, high):
        low, high = high, start + 2 * (high - start)
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        low, high = (low, middle) if _suffices(capacities, demands, start, middle) else (middle, high)
        if high - low < 1e-4 * (high - start):
            break
    return low


def _suffices(capacities: Sequence[Capacity], demands: dict[Kind, float], start: float, stop: float) -> bool:
    given: dict[Pool, float] = {}
    for capacity in capacities:
        seconds = min(stop, capacity.stop) - max(start, capacity.start)
        if seconds > 0:
            given[capacity.pool] = given.get(capacity.pool, 0.0) + seconds * capacity.rate
    costs = {
        (pool, kind): _seconds(pool, kind)
        for pool in given
        for kind in demands
        if kind.model in pool[2] and set(kind.labels) <= set(pool[3])
    }
    if {kind for _, kind in costs} != set(demands):
        return False
    return balance(given, demands, costs).makespan <= 1.0


def _seconds(pool: Pool, kind: Kind) -> float:
    chip, cores, _, _ = pool
    return min(speeds()[chip, cores, kind.model, unit].seconds(kind.steps) for unit in POLICIES["best"])


def _capacities(
    macs: Sequence[Mac], joins: Sequence[float], upsets: Iterable[Upset], loads: bool
) -> Iterable[Capacity]:
    by_mac: dict[int, list[Upset]] = {}
    for upset in sorted(upsets, key=lambda upset: upset.time):
        by_mac.setdefault(upset.mac, []).append(upset)
    for mac, join in zip(macs, joins, strict=True):
        memory = mac.facts.memory_bytes
        models = tuple(sorted({offer.model for offer in mac.facts.offers if MODELS[offer.model].peak_bytes <= memory}))
        pool = (mac.facts.chip, mac.facts.gpu_cores, models, tuple(sorted(mac.facts.labels.items())))
        least = min((min(MODELS[model].load_seconds.values()) for model in models), default=0.0) if loads else 0.0
        since, slowness, is_there = join + least, 1.0, True
        for upset in by_mac.get(mac.number, ()):
            if is_there and upset.time > since:
                yield Capacity(pool, since, upset.time, 1 / (mac.factor * slowness))
            since = max(since, upset.time)
            slowness = upset.factor if upset.kind == "slow" else slowness
            is_there = {"leave": False, "return": True}.get(upset.kind, is_there)
        if is_there:
            yield Capacity(pool, since, float("inf"), 1 / (mac.factor * slowness))
