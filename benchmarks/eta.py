"""How often jobs end within the 80 % interval that the farm gave them, in virtual time, while Macs come and go.

Jobs of both models and many sizes arrive as they come at the sample studio. Each is given an interval when it is
accepted and another when it is half done. The farm learns from jobs that have ended; the first hundred are for that.
What `farm submit --dry-run` foretells is judged by the same jobs, and by jobs of 1 to 300 images that have the studio
to themselves.
"""

import argparse
import functools
import statistics
from functools import partial
from pathlib import Path

from benchmarks.report import report
from farm.scheduler import events as ev
from farm.scheduler.eta import eta_ahead
from farm.scheduler.forecast import Eta
from farm.scheduler.state import kind_of
from farm.simulator.records import Records
from farm.simulator.scenario import NO_FAULTS, Fault, Faults, Fleet, Jobs, Workload, parse
from farm.simulator.simulation import Simulation

STUDIO = Path(__file__).parents[1] / "examples" / "fleets" / "studio.toml"
LOW_GOAL, HIGH_GOAL = 0.70, 0.90
LEARNING = 100

FAILING = Faults(
    fault=(
        Fault("away", every=300.0, seconds=600.0),
        Fault("crash", every=600.0),
        Fault("slow", every=1200.0, seconds=1800.0, factor=2.5),
    ),
    image_failure=0.002,
)
"""Each Mac vanishes every three hours or so for ten minutes, loses its renderer every seven, and is hot every 13."""


def workload(jobs: int) -> Workload:
    """Jobs that keep the studio busy for about three quarters of the time."""
    quick = Jobs("sd-1.5", 200, submitter="s{n}", count=jobs * 4 // 5, every=130.0, is_random=True)
    heavy = Jobs("sdxl", 40, submitter="x{n}", count=jobs // 5, every=520.0, is_random=True, steps=20)
    return Workload((quick, heavy))


def covered(records: Records, moment: int) -> list[tuple[bool, float]]:
    """For each job but the first: whether it ended within an interval, and how wide that was beside its middle.

    Args:
        records: Of a run.
        moment: 0 for the interval at acceptance, 1 for that at half, which small jobs may be too soon over to be given.
    """
    jobs = list(records.jobs.values())[LEARNING:]
    return [
        (
            job.end_time is not None and quote.earliest <= job.end_time <= quote.latest,
            (quote.latest - quote.earliest) / (quote.likely - job.create_time),
        )
        for job in jobs
        if len(job.quotes) > moment
        for quote in (job.quotes[moment],)
    ]


ALONE_SIZES = (1, 3, 8, 20, 40, 100, 300)
ALONE_SECONDS = 400.0
"""The largest of these jobs ends within it on the studio."""


def alone(jobs: int) -> Workload:
    """Jobs of all these sizes in turn, each on an idle farm."""
    return Workload(
        tuple(
            Jobs(
                "sd-1.5",
                size,
                submitter="s{n}",
                count=jobs // len(ALONE_SIZES),
                at=ALONE_SECONDS * (1 + place),
                every=ALONE_SECONDS * len(ALONE_SIZES),
            )
            for place, size in enumerate(ALONE_SIZES)
        )
    )


class DryRuns(Simulation):
    """Asks of each job, just before it comes, when it would end."""

    @functools.cached_property
    def foretold(self) -> dict[str, Eta | None]:
        """What was said, by job."""
        return {}

    def _happen(self, event: ev.Event) -> None:
        if isinstance(event, ev.JobOpened):
            demand = kind_of(event.spec, event.evaluations)
            self.foretold[event.job_id] = eta_ahead(
                self.state, demand, event.submitter, event.priority, event.image_count, self.now
            )
        super()._happen(event)

    def hits(self) -> dict[str, bool]:
        """For each job but the first that learning takes: whether it ended within what was said."""
        return {
            job_id: quote is not None and end is not None and quote.earliest <= end <= quote.latest
            for job_id, quote in list(self.foretold.items())[LEARNING:]
            for end in (self.records.jobs[job_id].end_time,)
        }


def main() -> None:
    """Measures and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=500, help="jobs that are judged")
    arguments = parser.parse_args()
    studio = parse(STUDIO.read_text("utf-8"), Fleet, "studio.toml")
    for name, faults in (("no_faults", NO_FAULTS), ("macs_fail", FAILING)):
        simulation = DryRuns(studio, workload(arguments.jobs + LEARNING), faults, seed=1)
        records = simulation.run()
        _tell_dry_runs(simulation, f"{name}_dry_run")
        for moment, when in enumerate(("at_acceptance", "at_half")):
            found = covered(records, moment)
            part = statistics.fmean(hit for hit, _ in found)
            tell = partial(report, "eta", compared_with="80 %", repeats=len(found))
            tell(f"coverage_{name}_{when}", round(part, 3), "1", LOW_GOAL, smaller_is_better=False)
            tell(f"coverage_{name}_{when}_at_most", round(part, 3), "1", HIGH_GOAL)
            width = statistics.median(width for _, width in found)
            tell(f"relative_width_{name}_{when}", round(width, 3), "1", None)
    simulation = DryRuns(studio, alone(arguments.jobs + LEARNING), seed=1)
    simulation.run()
    _tell_dry_runs(simulation, "dry_run")


def _tell_dry_runs(simulation: DryRuns, name: str) -> None:
    hits = simulation.hits()
    part = statistics.fmean(hits.values())
    tell = partial(report, "eta", compared_with="80 %", repeats=len(hits))
    tell(f"coverage_{name}", round(part, 3), "1", LOW_GOAL, smaller_is_better=False)
    tell(f"coverage_{name}_at_most", round(part, 3), "1", HIGH_GOAL)


if __name__ == "__main__":
    main()
