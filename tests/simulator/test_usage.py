from farm.simulator.report import summarize
from farm.simulator.scenario import NO_FAULTS, Fault, Faults, Fleet, Jobs, Macs, Workload
from farm.simulator.simulation import Simulation

M1, MAX = Macs("Apple M1", 8), Macs("Apple M1 Max", 32, memory_gb=64)
BATCH = Workload((Jobs("sd-1.5", 200),))


def run(fleet: Fleet, workload: Workload = BATCH, faults: Faults = NO_FAULTS) -> Simulation:
    simulation = Simulation(fleet, workload, faults)
    simulation.run()
    return simulation


def test_macs_are_told_apart_by_what_their_chips_favour_and_each_image_is_one_classs() -> None:
    summary = summarize(run(Fleet((MAX, M1, Macs("Apple M2", 8, count=2)))))
    assert [(usage.chip_class, usage.chip, usage.macs) for usage in summary.classes] == [
        ("ANE", None, 3),
        ("GPU", None, 1),
    ]
    assert [usage.chip for usage in summary.chips] == ["Apple M1 Max", "Apple M1", "Apple M2"]
    assert sum(usage.images for usage in summary.classes) == sum(usage.images for usage in summary.chips) == 200


def test_the_throughput_over_time_is_kept_by_class() -> None:
    simulation = run(Fleet((MAX, M1)))
    for usage in summarize(simulation).classes:
        images = [count for (found, _), count in simulation.records.bins.items() if found.value == usage.chip_class]
        assert (sum(images), len(images) > 3) == (usage.images, True)


def test_a_mac_is_judged_by_the_time_it_was_there() -> None:
    fleet = Fleet((M1, Macs("Apple M1 Max", 32, memory_gb=64, join_at=200.0)))
    simulation = run(fleet, faults=Faults((Fault("away", macs=(1,), at=300.0, seconds=100.0),)))
    _, late = summarize(simulation).classes
    images = [mac.busy_seconds for mac in simulation.macs]
    there = simulation.records.last_commit - 200.0 - 100.0
    assert late.utilisation == images[1] / there
    assert 0.75 < late.utilisation < 1.0


def test_macs_that_only_come_after_the_last_image_have_no_utilisation_rather_than_a_bad_one() -> None:
    fleet = Fleet((M1, Macs("Apple M1 Max", 32, memory_gb=64, join_at=1e5)))
    ane, gpu = summarize(run(fleet)).classes
    assert ane.utilisation is not None
    assert ane.utilisation > 0.9
    assert (gpu.macs, gpu.images, gpu.utilisation, gpu.loading, gpu.lost) == (1, 0, None, None, None)


def test_what_a_mac_did_with_its_time_is_never_more_than_its_time() -> None:
    faults = Faults(
        (
            Fault("away", every=150.0, seconds=60.0),
            Fault("crash", every=100.0),
            Fault("garbage", macs=(1,), at=100.0, seconds=300.0),
        ),
        image_failure=0.05,
    )
    workload = Workload((Jobs("sd-1.5", 100), Jobs("sdxl", 20)))
    for usage in summarize(run(Fleet((M1, M1, MAX)), workload, faults)).chips:
        parts = (usage.utilisation, usage.loading, usage.lost)
        assert all(part is not None and part > 0.01 for part in parts)
        assert sum(part for part in parts if part is not None) <= 1.0 + 1e-9


def test_time_spent_on_garbage_is_lost_however_busy_the_mac_was() -> None:
    (usage,) = summarize(run(Fleet((M1,)), faults=Faults((Fault("garbage", seconds=60.0),)))).classes
    assert usage.utilisation is not None
    assert usage.lost is not None
    assert usage.lost > 0.0
    assert usage.utilisation + usage.lost < 1.0
