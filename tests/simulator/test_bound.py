from hypothesis import given, settings
from hypothesis import strategies as st

from farm.simulator.report import summarize
from farm.simulator.scenario import Fault, Faults, Fleet, Jobs, Macs, Workload
from farm.simulator.simulation import Simulation

CHIPS = (("Apple M1", 8, 16), ("Apple M2 Pro", 16, 16), ("Apple M1 Max", 32, 64), ("Apple M1", 8, 8))
TIMES = st.sampled_from((0.0, 40.0, 100.0, 250.0))

MACS = st.builds(
    lambda chip, join_at: Macs(chip[0], chip[1], memory_gb=chip[2], join_at=join_at), st.sampled_from(CHIPS), TIMES
)
JOBS = st.builds(Jobs, st.sampled_from(("sd-1.5", "sdxl")), st.integers(1, 12), at=TIMES)
FAULTS = st.builds(
    Fault,
    st.sampled_from(("away", "crash", "slow", "garbage")),
    macs=st.just((0,)),
    at=TIMES,
    seconds=st.sampled_from((30.0, 200.0)),
    factor=st.sampled_from((0.3, 4.0)),
)


@settings(max_examples=15)
@given(
    st.lists(MACS, min_size=1, max_size=3),
    st.lists(JOBS, min_size=1, max_size=3),
    st.lists(FAULTS, max_size=3),
    st.sampled_from((0.0, 0.1)),
)
def test_no_run_is_faster_than_the_bound(
    macs: list[Macs], jobs: list[Jobs], faults: list[Fault], image_failure: float
) -> None:
    simulation = Simulation(
        Fleet(tuple(macs), noise=0.0), Workload(tuple(jobs)), Faults(tuple(faults), image_failure), seed=1
    )
    simulation.run()
    assert summarize(simulation).efficiency <= 1.0 + 1e-9


def test_images_that_were_given_up_are_no_part_of_what_a_run_is_measured_against() -> None:
    workload = Workload((Jobs("sd-1.5", 20), Jobs("sdxl", 20, at=500.0)))
    simulation = Simulation(Fleet((Macs("Apple M1 Max", 32, memory_gb=64),)), workload, Faults(image_failure=0.5))
    simulation.run()
    summary = summarize(simulation)
    assert summary.jobs == (2, 2)
    assert summary.failed == 40 - summary.images > 0
    assert 0.0 < summary.efficiency <= 1.0


def test_a_run_that_leaves_work_undone_has_no_efficiency() -> None:
    simulation = Simulation(Fleet((Macs("Apple M1", 8),)), Workload((Jobs("sd-1.5", 100),)))
    simulation.run(until=60.0)
    summary = summarize(simulation)
    assert summary.bound is not None
    assert (summary.jobs, summary.bound > summary.makespan > 0, summary.efficiency) == ((0, 1), True, 0.0)


def test_loading_again_after_every_absence_and_crash_is_no_loss_of_the_schedule() -> None:
    faults = Faults((Fault("away", at=100.0, seconds=100.0), Fault("crash", at=300.0)))
    simulation = Simulation(Fleet((Macs("Apple M1", 8),), noise=0.0), Workload((Jobs("sd-1.5", 100),)), faults)
    simulation.run()
    assert summarize(simulation).efficiency > 0.95
