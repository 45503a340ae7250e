"""How good placement is, in virtual time: against the bound, always the same compute unit, and between submitters.

Fleets and speeds are files of the project (`examples/fleets/`, `farm/assets/speeds.csv`): published figures, and
derived ones marked as such.
"""

import argparse
import random
import statistics
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.report import report
from benchmarks.simulator import finish
from farm.simulator.records import WORK_BIN_SECONDS
from farm.simulator.report import summarize
from farm.simulator.scenario import POLICIES, Fleet, Jobs, Macs, Workload, parse
from farm.simulator.simulation import Simulation
from farm.simulator.speeds import speeds

FLEETS = Path(__file__).parents[1] / "examples" / "fleets"
MIXED = Workload((Jobs("sd-1.5", 12_000), Jobs("sdxl", 2_400, steps=20)))
SMALL = Workload(
    (
        Jobs("sd-1.5", 30, count=40, every=120.0, is_random=True),
        Jobs("sdxl", 10, steps=20, count=40, every=150.0, is_random=True),
    )
)
"""What a studio does beside its batches: a small job of either model every minute or so."""

BOUND_GOAL = 1.03
GAIN_GOAL = 1.2
WORST_GOAL = 1.01
FAIRNESS_GOAL = 0.10
DAY_SECONDS = 8 * 3600
SINGLE = "better of always-GPU, always-ANE"


def makespan(fleet: Fleet, workload: Workload, policy: str, seed: int = 0) -> float:
    """Seconds until the last image."""
    return finish(Simulation(fleet, workload, policy=policy, seed=seed)).records.last_commit


def turnaround(fleet: Fleet, workload: Workload, seed: int) -> float:
    """Mean seconds from a job's submission to its end."""
    jobs = finish(Simulation(fleet, workload, seed=seed)).records.jobs.values()
    return statistics.fmean(job.end_time - job.create_time for job in jobs if job.end_time is not None)


def random_fleet(chance: random.Random) -> tuple[Fleet, Workload]:
    """Two to twelve Macs of any chips, and what keeps them busy for about an hour."""
    chips = sorted({(chip, cores) for chip, cores, _, _ in speeds()})
    macs = tuple(Macs(*chance.choice(chips), memory_gb=32) for _ in range(chance.randint(2, 12)))
    rate = sum(
        1 / min(speeds()[mac.chip, mac.gpu_cores, "sd-1.5", unit].seconds(25) for unit in POLICIES["best"])
        for mac in macs
    )
    part = chance.random()
    images = 3600 * rate
    return Fleet(macs), Workload(
        (Jobs("sd-1.5", max(1, round(images * (1 - part)))), Jobs("sdxl", max(1, round(images * part / 8)), steps=20))
    )


def worst_ratio(fleets: int) -> list[float]:
    """For each random fleet: the farm's makespan over that of the better single compute unit."""
    chance = random.Random(7)
    ratios = []
    for seed in range(fleets):
        fleet, workload = random_fleet(chance)
        best, gpu, ane = (makespan(fleet, workload, policy, seed) for policy in ("best", "gpu", "ane"))
        ratios.append(best / min(gpu, ane))
    return ratios


def busy_day() -> Workload:
    """Ten submitters who always have something waiting; half of them send both models, and jobs differ in size."""
    sizes = (40, 100, 250, 600)
    jobs = [
        Jobs("sd-1.5", sizes[number % 4], submitter=f"s{number}", count=20_000 // sizes[number % 4])
        for number in range(10)
    ]
    return Workload((*jobs, *(Jobs("sdxl", 50, submitter=f"s{n}", count=60, steps=20) for n in range(0, 10, 2))))


TWO_SUBMITTERS = {
    "unfairness_two_kinds_one_mac": (
        Fleet((Macs("Apple M1", 8),)),
        Workload((Jobs("sd-1.5", 20_000, submitter="a"), Jobs("sd-1.5", 20_000, submitter="b", steps=24))),
    ),
    "unfairness_two_models_one_mac": (
        Fleet((Macs("Apple M1 Max", 32, memory_gb=64),)),
        Workload((Jobs("sd-1.5", 20_000, submitter="a"), Jobs("sdxl", 20_000, submitter="b", steps=20))),
    ),
    "unfairness_beside_a_stuck_job": (
        Fleet((Macs("Apple M1", 8), Macs("Apple M1 Max", 32))),
        Workload(
            (
                Jobs("sd-1.5", 20_000, submitter="a"),
                Jobs("sd-1.5", 20_000, submitter="b", at=3600.0),
                Jobs("sd-1.5", 1, submitter="c", worker_labels={"room": "none"}),
            )
        ),
    ),
}
"""By figure: small farms on which `a` and `b` have something waiting throughout the last two of three hours."""


def distance(fleet: Fleet, workload: Workload) -> float:
    """Relative distance of the work of `a` and `b`, in the last two of three hours, from the mean of both.

    Raises:
        RuntimeError: One of them ran out of work.
    """
    simulation = Simulation(fleet, workload)
    simulation.run(until=3 * 3600.0)
    _check_waiting(simulation, {"a", "b"})
    first, last = int(3600 // WORK_BIN_SECONDS), int(3 * 3600 // WORK_BIN_SECONDS)
    given = simulation.records.work
    one, other = (sum(given.get((name, number), 0.0) for number in range(first, last)) for name in "ab")
    return abs(one - other) / (one + other)


def unfairness(simulation: Simulation) -> float:
    """Largest relative distance of a submitter's work from the mean, over every hour that was run.

    Raises:
        RuntimeError: A submitter ran out of work.
    """
    names = {job.submitter for job in simulation.arrivals}
    _check_waiting(simulation, names)
    given = simulation.records.work
    bins, width = int(simulation.now // WORK_BIN_SECONDS), int(3600 // WORK_BIN_SECONDS)
    worst = 0.0
    for start in range(bins - width + 1):
        work = [sum(given.get((name, start + step), 0.0) for step in range(width)) for name in names]
        mean = statistics.fmean(work)
        worst = max(worst, *(abs(value / mean - 1) for value in work))
    return worst


def _check_waiting(simulation: Simulation, names: set[str]) -> None:
    if not names <= {job.submitter for job in simulation.state.jobs.values()}:
        raise RuntimeError("A submitter had nothing waiting at the end: fairness is for those who have.")


def main() -> None:
    """Measures and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fleets", type=int, default=100, help="random fleets")
    parser.add_argument("--repeats", type=int, default=3, help="seeds of the studio's run")
    arguments = parser.parse_args()
    studio = parse((FLEETS / "studio.toml").read_text("utf-8"), Fleet, "studio.toml")
    tell = partial(report, "placement")
    excess, gains = [], []
    for seed in range(arguments.repeats):
        summary = summarize(finish(Simulation(studio, MIXED, seed=seed)))
        excess.append(1 / summary.efficiency)
        others = min(makespan(studio, MIXED, policy, seed) for policy in ("gpu", "ane"))
        gains.append(others / summary.makespan)
    repeats = arguments.repeats
    tell(
        "makespan_over_bound",
        round(statistics.median(excess), 4),
        "1",
        BOUND_GOAL,
        compared_with="fluid LP bound",
        repeats=repeats,
        spread=max(excess) - min(excess),
    )
    tell(
        "speed_up",
        round(statistics.median(gains), 3),
        "1",
        GAIN_GOAL,
        compared_with=SINGLE,
        repeats=repeats,
        spread=max(gains) - min(gains),
        smaller_is_better=False,
    )
    for state, fleet in (("", studio), ("_fresh", replace(studio, is_calibrated=False, is_compiled=False))):
        times = [turnaround(fleet, SMALL, seed) for seed in range(repeats)]
        words = "the same studio, " + ("measured and compiled before" if state else "with nothing measured or compiled")
        middle, spread = round(statistics.median(times), 1), max(times) - min(times)
        tell(f"small_jobs{state}", middle, "s", None, compared_with=words, repeats=repeats, spread=spread)
    ratios = worst_ratio(arguments.fleets)
    tell(
        "worst_of_random_fleets",
        round(max(ratios), 4),
        "1",
        WORST_GOAL,
        compared_with=SINGLE,
        repeats=len(ratios),
        spread=max(ratios) - min(ratios),
    )
    day = Simulation(studio, busy_day())
    day.run(until=DAY_SECONDS)
    tell("unfairness", round(unfairness(day), 4), "1", FAIRNESS_GOAL, compared_with="equal work in any hour")
    for figure, (fleet, workload) in TWO_SUBMITTERS.items():
        far = distance(fleet, workload)
        tell(figure, round(far, 4), "1", FAIRNESS_GOAL, compared_with="equal work in two hours")


if __name__ == "__main__":
    main()
