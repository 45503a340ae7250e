"""What the figures of placement are made of must be able to be wrong."""

from dataclasses import replace

import pytest

from benchmarks.placement import makespan, unfairness
from farm.simulator.scenario import Fleet, Jobs, Macs, Workload
from farm.simulator.simulation import Simulation

SMALL = Macs("Apple M1", 8, memory_gb=8)
MAC = Fleet((SMALL,))


def test_a_run_that_leaves_images_undone_has_no_makespan() -> None:
    with pytest.raises(RuntimeError, match="Only 5 of 6 images"):
        makespan(MAC, Workload((Jobs("sd-1.5", 5), Jobs("sdxl", 1))), "best")


def test_a_submitter_who_is_given_nothing_counts_as_the_most_unfair_treatment() -> None:
    jobs = [Jobs("sd-1.5", 4000, submitter=name) for name in ("first", "second")]
    fair, starved = (
        Simulation(MAC, Workload((jobs[0], replace(jobs[1], model=model)))) for model in ("sd-1.5", "sdxl")
    )
    fair.run(until=2 * 3600)
    starved.run(until=2 * 3600)

    assert unfairness(fair) < 0.1
    assert unfairness(starved) == 1.0


def test_fairness_is_not_judged_between_those_who_have_nothing_left() -> None:
    day = Simulation(MAC, Workload((Jobs("sd-1.5", 2, submitter="first"), Jobs("sd-1.5", 2, submitter="second"))))
    day.run()
    with pytest.raises(RuntimeError, match="nothing waiting"):
        unfairness(day)
