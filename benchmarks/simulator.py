"""What the scheduler costs: ten thousand Macs in virtual time, and a decision by the size of the farm.

The time of a decision is the processor's, spent in `decide` and in applying what it decides: the median is what nearly
every event costs, the mean includes the plans, of which there is at most one a second of the farm's time.
"""

import argparse
import functools
import resource
import statistics
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.report import report
from farm.simulator.report import summarize
from farm.simulator.scenario import Fleet, Jobs, Workload, parse
from farm.simulator.simulation import Simulation

CAMPUS = Path(__file__).parents[1] / "examples" / "fleets" / "campus.toml"
MINUTES_GOAL = 5.0
EFFICIENCY_GOAL = 0.98
MEMORY_GOAL = 1.0
WORKERS_GOAL = 2.0
JOBS_GOAL = 4.0
IMAGES_A_MAC = 40
UNENDING = 100
"""Times as many images in the jobs as are rendered while decisions are timed, so that every job lives to the end."""

KINDS = 10
SUBMITTERS = 10
MACS_BY_JOBS = 1_000


class TimedSimulation(Simulation):
    """Keeps the processor time of each decision, in nanoseconds."""

    def _decide(self) -> None:
        started = time.process_time_ns()
        super()._decide()
        self.decisions.append(time.process_time_ns() - started)

    @functools.cached_property
    def decisions(self) -> list[int]:
        """Each decision's time."""
        return []


def campus(macs: int) -> Fleet:
    """The sample campus, made as large as is asked for with the same mixture of chips."""
    sample = parse(CAMPUS.read_text("utf-8"), Fleet, "campus.toml")
    scale = macs / sum(each.count for each in sample.mac)
    return replace(sample, mac=tuple(replace(each, count=max(1, round(each.count * scale))) for each in sample.mac))


def finish(simulation: Simulation) -> Simulation:
    """Runs a simulation to its end. One that leaves work undone has no figure.

    Raises:
        RuntimeError: Some image was not committed.
    """
    asked = sum(job.image_count for job in simulation.arrivals)
    done = simulation.run().image_count
    if done != asked or simulation.state.jobs:
        raise RuntimeError(
            f"Only {done:,} of {asked:,} images were committed; {len(simulation.state.jobs):,} jobs live."
        )
    return simulation


def decision_times(macs: int, jobs: int) -> tuple[float, float]:
    """Median and mean time of a decision in microseconds, from ten images a Mac to twenty, with every job live.

    Args:
        macs: Macs in the fleet.
        jobs: Jobs, of as many kinds as `KINDS` and of `SUBMITTERS` people.

    Raises:
        RuntimeError: A job ended meanwhile.
    """
    total = macs * IMAGES_A_MAC
    workload = tuple(
        Jobs("sd-1.5", -(-total // jobs) * UNENDING, submitter=f"s{number % SUBMITTERS}", steps=20 + number % KINDS)
        for number in range(jobs)
    )
    simulation = TimedSimulation(campus(macs), Workload(workload))
    simulation.run(images=total // 4)
    simulation.decisions.clear()
    simulation.run(images=total // 2)
    if len(simulation.state.jobs) != jobs:
        raise RuntimeError(f"{len(simulation.state.jobs)} jobs were live at the end, not {jobs}.")
    return statistics.median(simulation.decisions) / 1e3, statistics.fmean(simulation.decisions) / 1e3


def main() -> None:
    """Measures and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--macs", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3, help="of the ratios; the large run is made once")
    arguments = parser.parse_args()
    tell = partial(report, "simulator")
    rounds = [
        (
            decision_times(100, 10),
            decision_times(arguments.macs, 10),
            decision_times(MACS_BY_JOBS, 10),
            decision_times(MACS_BY_JOBS, 1_000),
        )
        for _ in range(arguments.repeats)
    ]
    for which, name in enumerate(("median", "mean")):
        by_macs = [many[which] / few[which] for few, many, _, _ in rounds]
        by_jobs = [many[which] / few[which] for _, _, few, many in rounds]
        for figure, values, goal, beside in (
            (f"decision_by_workers_{name}", by_macs, WORKERS_GOAL, "100 workers"),
            (f"decision_by_jobs_{name}", by_jobs, JOBS_GOAL, "10 live jobs"),
        ):
            spread = max(values) - min(values)
            value = round(statistics.median(values), 2)
            tell(figure, value, "1", goal, compared_with=beside, repeats=arguments.repeats, spread=spread)
        typical = statistics.median(many[which] for _, many, _, _ in rounds)
        tell(f"decision_{name}", round(typical, 1), "us", None, compared_with="nothing", repeats=arguments.repeats)
    started = time.process_time()
    simulation = finish(Simulation(campus(arguments.macs), Workload((Jobs("sd-1.5", arguments.images),))))
    minutes = (time.process_time() - started) / 60
    efficiency = summarize(simulation).efficiency
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    tell("campus_cpu_time", round(minutes, 2), "min", MINUTES_GOAL, compared_with="nothing")
    tell(
        "campus_efficiency",
        round(efficiency, 4),
        "1",
        EFFICIENCY_GOAL,
        compared_with="fluid LP bound",
        smaller_is_better=False,
    )
    tell("campus_memory", round(peak, 3), "GB", MEMORY_GOAL, compared_with="nothing")


if __name__ == "__main__":
    main()
