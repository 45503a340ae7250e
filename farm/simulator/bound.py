"""The least time in which a fleet could do a workload, knowing everything: what a run is measured against.

Work is taken as divisible, Macs of a kind as one pool of capacity, and each Mac's time is what its faults leave of it,
less a load of its quickest model whenever it has joined or crashed. No schedule can be faster, but for luck: the noise
of few images can come out below its mean. Jobs that no Mac fits are left out, as no schedule renders them.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from farm.scheduler import events as ev
from farm.scheduler.fitting import room_bytes
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


def fluid_bound(macs: Sequence[Mac], jobs: Sequence[ev.JobOpened], upsets: Iterable[Upset]) -> float | None:
    """Seconds after the start before which the last job that some Mac fits cannot have ended; None if it never can.

    Args:
        macs: The Macs.
        jobs: The jobs.
        upsets: What happens to the Macs, in order of time.
    """
    capacities = list(_capacities(macs, upsets))
    jobs = renderable(macs, jobs)
    times = sorted({job.time for job in jobs})
    starts = times[:: max(1, len(times) // MOMENTS)]
    bounds = [_bound_from(start, capacities, [job for job in jobs if job.time >= start]) for start in starts]
    return None if None in bounds else max((bound for bound in bounds if bound is not None), default=0.0)


def renderable(macs: Sequence[Mac], jobs: Iterable[ev.JobOpened]) -> list[ev.JobOpened]:
    """The jobs that some Mac fits."""
    pools = {_pool(mac) for mac in macs}
    return [job for job in jobs if any(_fits(pool, _kind(job)) for pool in pools)]


def _bound_from(start: float, capacities: Sequence[Capacity], jobs: Sequence[ev.JobOpened]) -> float | None:
    """When all of these jobs could be done, if all of them were there at `start` and nothing was before."""
    demands: dict[Kind, float] = {}
    for job in jobs:
        demands[_kind(job)] = demands.get(_kind(job), 0.0) + job.image_count
    if not _can_ever(capacities, demands, start):
        return None
    low, high = start, start + 1.0
    while not _suffices(capacities, demands, start, high):
        low, high = high, start + 2 * (high - start)
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        low, high = (low, middle) if _suffices(capacities, demands, start, middle) else (middle, high)
        if high - low < 1e-4 * (high - start):
            break
    return low


def _can_ever(capacities: Sequence[Capacity], demands: Mapping[Kind, float], start: float) -> bool:
    """Whether the work gets done at all: a Mac that stays does any amount, those that go must do the rest before."""
    stay = {capacity.pool for capacity in capacities if math.isinf(capacity.stop)}
    rest = {kind: images for kind, images in demands.items() if not any(_fits(pool, kind) for pool in stay)}
    go = [capacity for capacity in capacities if capacity.pool not in stay]
    return not rest or _suffices(go, rest, start, max((capacity.stop for capacity in go), default=start))


def _suffices(capacities: Sequence[Capacity], demands: Mapping[Kind, float], start: float, stop: float) -> bool:
    given: dict[Pool, float] = {}
    for capacity in capacities:
        seconds = min(stop, capacity.stop) - max(start, capacity.start)
        if seconds > 0:
            given[capacity.pool] = given.get(capacity.pool, 0.0) + seconds * capacity.rate
    costs = {(pool, kind): _seconds(pool, kind) for pool in given for kind in demands if _fits(pool, kind)}
    if {kind for _, kind in costs} != set(demands):
        return False
    return balance(given, demands, costs).makespan <= 1.0


def _kind(job: ev.JobOpened) -> Kind:
    labels = tuple(sorted(job.spec.pin.worker_labels.items()))
    return Kind(job.spec.model, job.spec.defaults.steps or 1, labels)


def _pool(mac: Mac) -> Pool:
    facts = mac.facts
    roomy = {offer.model for offer in facts.offers if MODELS[offer.model].peak_bytes <= room_bytes(facts)}
    return facts.chip, facts.gpu_cores, tuple(sorted(roomy)), tuple(sorted(facts.labels.items()))


def _fits(pool: Pool, kind: Kind) -> bool:
    return kind.model in pool[2] and set(kind.labels) <= set(pool[3])


def _seconds(pool: Pool, kind: Kind) -> float:
    chip, cores, _, _ = pool
    return min(speeds()[chip, cores, kind.model, unit].seconds(kind.steps) for unit in POLICIES["best"])


def _capacities(macs: Sequence[Mac], upsets: Iterable[Upset]) -> Iterator[Capacity]:
    by_mac: dict[int, list[Upset]] = {}
    for upset in upsets:
        by_mac.setdefault(upset.mac, []).append(upset)
    for mac in macs:
        pool = _pool(mac)
        load = min((min(MODELS[model].load_seconds.values()) for model in pool[2]), default=0.0)
        since, slowness, is_there = 0.0, 1.0, False
        for upset in by_mac.get(mac.number, ()):
            if is_there and upset.time > since:
                yield Capacity(pool, since, upset.time, 1 / (mac.factor * slowness))
            has_to_load = upset.kind in ("join", "crash")
            since = max(since, upset.time + load if has_to_load else upset.time)
            slowness = upset.factor if upset.kind == "slow" else slowness
            is_there = {"leave": False, "join": True}.get(upset.kind, is_there)
        if is_there:
            yield Capacity(pool, since, math.inf, 1 / (mac.factor * slowness))
