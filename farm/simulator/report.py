"""What came of a run, in figures."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace

from farm.scheduler import events as ev
from farm.scheduler.fitting import Unfit, fit
from farm.scheduler.state import kind_of
from farm.simulator.bound import fluid_bound, renderable
from farm.simulator.mac import Mac
from farm.simulator.records import Records
from farm.simulator.simulation import Simulation
from farm.simulator.speeds import GIB
from farm.simulator.usage import Usage, usage_by_chip, usage_by_class


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
        unfit: Jobs that have not ended as no Mac fits them.
        images: Images that were committed.
        failed: Images of jobs that ended which were given up, as they failed too often.
        makespan: Seconds from the start to the last image.
        bound: Seconds that the least possible makespan has, of what some Mac fits and was not given up; None if the
            Macs are not there for long enough to render all that.
        efficiency: Bound over makespan; 0 without either, or if a job that some Mac fits has not ended.
        wasted: Images that were rendered twice.
        eta_coverage: Part of the 80 % intervals in which the job really ended; None if none was given.
        quotes: How many intervals that are.
        classes: What the Macs did, by class of chip.
        chips: Likewise, by chip.
        submitters: By submitter.
        left_out: By sort of Mac and model.
    """

    jobs: tuple[int, int]
    unfit: int
    images: int
    failed: int
    makespan: float
    bound: float | None
    efficiency: float
    wasted: int
    eta_coverage: float | None
    quotes: int
    classes: tuple[Usage, ...]
    chips: tuple[Usage, ...]
    submitters: tuple[SubmitterReport, ...]
    left_out: tuple[LeftOut, ...]


def summarize(simulation: Simulation) -> Report:
    """The figures of a run that has ended."""
    records = simulation.records
    has_ended = {job_id for job_id, job in records.jobs.items() if job.end_time is not None}
    fitting = {opened.job_id for opened in renderable(simulation.macs, simulation.arrivals)}
    bound = fluid_bound(simulation.macs, list(_without_failed(simulation)), simulation.upsets)
    hits = coverage(records)
    makespan = records.last_commit
    return Report(
        jobs=(len(has_ended), len(records.jobs)),
        unfit=len(records.jobs.keys() - fitting - has_ended),
        images=records.image_count,
        failed=sum(job.failed_count for job in records.jobs.values()),
        makespan=makespan,
        bound=bound,
        efficiency=bound / makespan if bound is not None and makespan and fitting <= has_ended else 0.0,
        wasted=records.wasted,
        eta_coverage=statistics.fmean(hits) if hits else None,
        quotes=len(hits),
        classes=usage_by_class(simulation),
        chips=usage_by_chip(simulation),
        submitters=tuple(_submitters(records)),
        left_out=tuple(dict.fromkeys(_left_out(simulation))),
    )


def _without_failed(simulation: Simulation) -> Iterator[ev.JobOpened]:
    """The jobs, as if the images that were given up had not been asked for."""
    for opened in simulation.arrivals:
        record = simulation.records.jobs.get(opened.job_id)
        images = opened.image_count - (record.failed_count if record is not None else 0)
        if images:
            yield replace(opened, image_count=images)


def coverage(records: Records) -> list[bool]:
    """For each end that was foretold: whether the job ended within the interval."""
    return [
        quote.earliest <= job.end_time <= quote.latest
        for job in records.jobs.values()
        if job.end_time is not None
        for quote in job.quotes
    ]


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
