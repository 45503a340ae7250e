"""What came of a run, in figures."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from farm.scheduler.fitting import Unfit, fit
from farm.scheduler.state import kind_of
from farm.simulator.bound import fluid_bound
from farm.simulator.mac import Mac
from farm.simulator.records import Records
from farm.simulator.simulation import Simulation
from farm.simulator.speeds import GIB


@dataclass(frozen=True, slots=True)
class ChipReport:
    """Macs with one chip: how many, images they had committed, and the part of the makespan spent on images."""

    chip: str
    macs: int
    images: int
    utilisation: float


@dataclass(frozen=True, slots=True)
class SubmitterReport:
    """Jobs of one submitter: images asked for, median seconds until jobs start and until they end; None if none did."""

    submitter: str
    jobs: int
    images: int
    median_wait: float | None
    median_turnaround: float | None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Macs of one sort that could never render a model, and why."""

    chip: str
    memory_gb: int
    macs: int
    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """A run in figures.

    Attributes:
        jobs: Jobs that ended, and all.
        images: Images that were committed.
        makespan: Seconds from the start to the last image.
        bound: Seconds that the least possible makespan has, of what some Mac fits; None if the Macs are not there for
            long enough to render all that.
        efficiency: Bound over makespan; 0 without either.
        wasted: Images that were rendered twice.
        eta_coverage: Part of the 80 % intervals in which the job really ended; None if none was given.
        quotes: How many intervals that are.
        chips: By chip.
        submitters: By submitter.
        left_out: By sort of Mac and model.
    """

    jobs: tuple[int, int]
    images: int
    makespan: float
    bound: float | None
    efficiency: float
    wasted: int
    eta_coverage: float | None
    quotes: int
    chips: tuple[ChipReport, ...]
    submitters: tuple[SubmitterReport, ...]
    left_out: tuple[LeftOut, ...]


def summarize(simulation: Simulation) -> Report:
    """The figures of a run that has ended."""
    records = simulation.records
    bound = fluid_bound(simulation.macs, simulation.joins, simulation.arrivals, simulation.upsets)
    hits = coverage(records)
    makespan = records.last_commit
    return Report(
        jobs=(sum(job.end_time is not None for job in records.jobs.values()), len(records.jobs)),
        images=sum(mac.image_count for mac in simulation.macs),
        makespan=makespan,
        bound=bound,
        efficiency=bound / makespan if bound is not None and makespan else 0.0,
        wasted=records.wasted,
        eta_coverage=statistics.fmean(hits) if hits else None,
        quotes=len(hits),
        chips=tuple(_chips(simulation, makespan)),
        submitters=tuple(_submitters(records)),
        left_out=tuple(_left_out(simulation)),
    )


def coverage(records: Records) -> list[bool]:
    """For each end that was foretold: whether the job ended within the interval."""
    return [
        quote.earliest <= job.end_time <= quote.latest
        for job in records.jobs.values()
        if job.end_time is not None
        for quote in job.quotes
    ]


def _chips(simulation: Simulation, makespan: float) -> list[ChipReport]:
    chips = dict.fromkeys(mac.facts.chip for mac in simulation.macs)
    found = []
    for chip in chips:
        macs = [mac for mac in simulation.macs if mac.facts.chip == chip]
        busy = sum(mac.busy_seconds for mac in macs) / (len(macs) * makespan) if makespan else 0.0
        found.append(ChipReport(chip, len(macs), sum(mac.image_count for mac in macs), busy))
    return found


def _left_out(simulation: Simulation) -> Iterator[LeftOut]:
    kinds = {kind.key: kind for kind in (kind_of(opened.spec) for opened in simulation.arrivals)}
    sorts: dict[tuple[object, ...], list[Mac]] = {}
    for mac in simulation.macs:
        facts = mac.facts
        labels = tuple(sorted(facts.labels.items()))
        sorts.setdefault((facts.chip, facts.gpu_cores, facts.memory_bytes, facts.offers, labels), []).append(mac)
    for macs in sorts.values():
        facts = macs[0].facts
        for kind in kinds.values():
            way = fit(simulation.state.rates, kind, facts)
            if isinstance(way, Unfit):
                yield LeftOut(facts.chip, round(facts.memory_bytes / GIB), len(macs), kind.model, way.detail)


def _submitters(records: Records) -> list[SubmitterReport]:
    names = dict.fromkeys(job.submitter for job in records.jobs.values())
    found = []
    for name in names:
        jobs = [job for job in records.jobs.values() if job.submitter == name]
        waits = [job.start_time - job.create_time for job in jobs if job.start_time is not None]
        turnarounds = [job.end_time - job.create_time for job in jobs if job.end_time is not None]
        found.append(
            SubmitterReport(
                submitter=name,
                jobs=len(jobs),
                images=sum(job.image_count for job in jobs),
                median_wait=statistics.median(waits) if waits else None,
                median_turnaround=statistics.median(turnarounds) if turnarounds else None,
            )
        )
    return found
