import itertools
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import pytest

from farm.domain import ComputeUnit, Resident
from farm.errors import ScenarioError
from farm.scheduler.groups import DEPTH
from farm.scheduler.planning import PLAN_SECONDS
from farm.scheduler.pull import UNKNOWN_TASK_IMAGES
from farm.simulator.mac import Mac
from farm.simulator.report import summarize
from farm.simulator.scenario import NO_FAULTS, Fault, Faults, Fleet, Jobs, Macs, Workload, parse
from farm.simulator.simulation import Simulation
from farm.simulator.speeds import MODELS, digest, speeds

ANE = ComputeUnit.CPU_AND_NE
EXAMPLES = Path(__file__).parents[2] / "examples" / "fleets"

DESK = Fleet((Macs("Apple M1", 8), Macs("Apple M2 Pro", 16), Macs("Apple M1 Max", 32)))
MIXED = Workload((Jobs("sd-1.5", 150), Jobs("sdxl", 20, steps=20)))


def run(fleet: Fleet = DESK, workload: Workload = MIXED, faults: Faults = NO_FAULTS, seed: int = 0) -> Simulation:
    simulation = Simulation(fleet, workload, faults, seed=seed, keep_spans=True)
    simulation.run()
    return simulation


def images_once(simulation: Simulation) -> bool:
    """Whether every job ended, and each of its images was committed once."""
    asked = sum(job.image_count for job in simulation.arrivals)
    return not simulation.state.jobs and simulation.records.image_count == asked == len(simulation.records.spans)


def test_the_same_seed_gives_the_same_run_and_another_seed_another_one() -> None:
    faults = Faults((Fault("away", every=200.0, seconds=60.0),), image_failure=0.01)
    first, again, other = run(faults=faults), run(faults=faults), run(faults=faults, seed=1)
    assert first.records.spans == again.records.spans
    assert first.records.spans != other.records.spans


@pytest.mark.parametrize("seed", range(3))
def test_every_image_is_rendered_whatever_goes_wrong(seed: int) -> None:
    faults = Faults(
        (
            Fault("away", every=100.0, seconds=50.0),
            Fault("crash", every=80.0),
            Fault("slow", macs=(2,), at=60.0, seconds=200.0, factor=10.0),
        ),
        image_failure=0.02,
    )
    assert images_once(run(faults=faults, seed=seed))


def test_a_mac_that_only_makes_garbage_is_set_aside_and_every_image_is_rendered_by_the_others() -> None:
    garbage = Faults((Fault("garbage", macs=(2,)), Fault("slow", macs=(2,), factor=0.01)))
    simulation = Simulation(DESK, MIXED, garbage, keep_spans=True)
    aside = set()
    while simulation.state.jobs or simulation.now == 0.0:
        simulation.run(until=simulation.now + 20.0)
        aside |= {
            (job.job_id, worker_id)
            for job in simulation.state.jobs.values()
            for worker_id, standing in job.standings.items()
            if standing.aside
        }
    assert images_once(simulation)
    assert aside == {("job-00000", "mac-00002"), ("job-00001", "mac-00002")}


def test_macs_that_fail_an_image_now_and_then_are_not_set_aside() -> None:
    simulation = run(workload=Workload((Jobs("sd-1.5", 2000),)), faults=Faults(image_failure=0.01))
    assert images_once(simulation)
    assert {span.mac for span in simulation.records.spans[-100:]} == {0, 1, 2}


def test_no_run_is_faster_than_the_bound_and_a_quiet_one_is_close_to_it() -> None:
    workload = Workload((Jobs("sd-1.5", 1500), Jobs("sdxl", 200, steps=20)))
    summary = summarize(run(workload=workload))
    assert 0.96 < summary.efficiency <= 1.0


def test_with_a_mac_that_dies_at_half_time_little_more_is_lost_than_the_mac() -> None:
    quiet = summarize(run(workload=Workload((Jobs("sd-1.5", 1500),))))
    faults = Faults((Fault("away", macs=(2,), at=quiet.makespan / 2),))
    killed = run(workload=Workload((Jobs("sd-1.5", 1500),)), faults=faults)
    assert images_once(killed)
    assert summarize(killed).efficiency > 0.96


def test_with_a_mac_that_becomes_ten_times_slower_little_more_is_lost_than_its_speed() -> None:
    quiet = summarize(run(workload=Workload((Jobs("sd-1.5", 1500),))))
    faults = Faults((Fault("slow", macs=(2,), at=quiet.makespan / 2, factor=10.0),))
    assert summarize(run(workload=Workload((Jobs("sd-1.5", 1500),)), faults=faults)).efficiency > 0.95


@pytest.mark.parametrize(("macs", "seconds"), [(8, 0.0), (600, PLAN_SECONDS)])
def test_a_plan_that_looks_through_many_attempts_is_not_made_at_every_change(macs: int, seconds: float) -> None:
    simulation = Simulation(Fleet((Macs("Apple M1", 8, macs),)), Workload((Jobs("sd-1.5", 20 * macs),)))
    simulation.run(images=8 * macs)

    assert simulation.state.plan is not None
    assert simulation.state.plan.interval == seconds


def test_no_mac_renders_two_images_at_once() -> None:
    spans = run().records.spans
    for number in range(3):
        mine = sorted((span.start, span.stop) for span in spans if span.mac == number)
        assert all(stop <= start + 1e-9 for (_, stop), (start, _) in itertools.pairwise(mine))


def test_a_mac_that_lacks_memory_for_a_model_gets_none_of_it() -> None:
    fleet = Fleet((Macs("Apple M1", 8, memory_gb=8), Macs("Apple M1 Max", 32, memory_gb=64)))
    simulation = run(fleet, Workload((Jobs("sdxl", 20, steps=20),)))
    assert images_once(simulation)
    assert {span.mac for span in simulation.records.spans} == {1}


def test_choosing_the_unit_beats_always_the_same_one() -> None:
    workload = Workload((Jobs("sd-1.5", 600), Jobs("sdxl", 60, steps=20)))
    makespans = {}
    for policy in ("best", "gpu", "ane"):
        makespans[policy] = Simulation(DESK, workload, policy=policy).run().last_commit
    assert makespans["best"] * 1.1 < min(makespans["gpu"], makespans["ane"])


def test_macs_that_join_late_are_put_to_use() -> None:
    fleet = Fleet((Macs("Apple M1", 8), Macs("Apple M1 Max", 32, join_at=300.0)))
    spans = run(fleet, Workload((Jobs("sd-1.5", 200),))).records.spans
    late = [span for span in spans if span.mac == 1]
    assert 300.0 <= min(span.start for span in late) < 310.0
    assert len(late) > 50


@pytest.mark.parametrize(("join_at", "at"), [(30_000.0, 0.0), (0.0, 30_000.0)])
def test_macs_and_jobs_that_come_hours_after_all_others_are_waited_for(join_at: float, at: float) -> None:
    fleet = Fleet((Macs("Apple M1", 8, join_at=join_at),))
    assert images_once(run(fleet, Workload((Jobs("sd-1.5", 2), Jobs("sd-1.5", 2, at=at)))))


def test_a_mac_that_is_away_for_most_of_a_day_is_waited_for() -> None:
    away = Faults((Fault("away", at=20.0, seconds=50_000.0),))
    assert images_once(run(Fleet((Macs("Apple M1", 8),)), Workload((Jobs("sd-1.5", 20),)), away))


def test_nobody_is_waited_for_who_fits_no_job_that_is_left() -> None:
    fleet = Fleet((Macs("Apple M1", 8, models=("sd-1.5",)),))
    away = Faults((Fault("away", at=100.0, seconds=1e6),))
    simulation = run(fleet, Workload((Jobs("sd-1.5", 2), Jobs("sdxl", 2))), away)
    assert simulation.records.image_count == 2
    assert simulation.now < 50_000.0


def test_a_second_submitter_does_not_wait_until_the_first_ones_batch_is_done() -> None:
    jobs = (Jobs("sd-1.5", 400, submitter="first"), Jobs("sd-1.5", 40, submitter="second", at=60.0))
    summary = summarize(run(workload=Workload(jobs)))
    assert all(submitter.median_wait is not None and submitter.median_wait < 60.0 for submitter in summary.submitters)


def test_a_small_job_of_another_kind_does_not_crawl_beside_a_large_one() -> None:
    jobs = (Jobs("sd-1.5", 5000), Jobs("sd-1.5", 12, submitter="second", steps=24, at=300.0, priority=10))
    simulation = Simulation(replace(DESK, mac=DESK.mac * 6), Workload(jobs))
    simulation.run(until=420.0)
    assert [job.submitter for job in simulation.records.jobs.values() if job.end_time is not None] == ["second"]


def test_intervals_are_given_for_jobs_when_they_are_new_and_when_they_are_half_done() -> None:
    simulation = run()
    assert [len(job.quotes) for job in simulation.records.jobs.values()] == [2, 2]
    assert summarize(simulation).quotes == 4


@pytest.mark.parametrize("name", ["desk", "studio", "campus"])
def test_the_sample_fleets_are_known_to_the_table_of_speeds(name: str) -> None:
    fleet = parse((EXAMPLES / f"{name}.toml").read_text("utf-8"), Fleet, name)
    simulation = Simulation(fleet, Workload((Jobs("sd-1.5", 1),)))
    assert len(simulation.macs) == {"desk": 3, "studio": 40, "campus": 1000}[name]


@pytest.mark.parametrize(("name", "form"), [("batch", Workload), ("day", Workload), ("faults", Faults)])
def test_the_other_sample_files_are_what_they_say(name: str, form: type) -> None:
    assert parse((EXAMPLES / f"{name}.toml").read_text("utf-8"), form, name) != form(())


def test_the_sample_day_is_of_ten_people_who_send_both_models_as_they_come() -> None:
    arrivals = Simulation(DESK, parse((EXAMPLES / "day.toml").read_text("utf-8"), Workload, "day")).arrivals
    for person in range(10):
        jobs = [job for job in arrivals if job.submitter == f"person-{person}"]
        assert {job.spec.model for job in jobs} == {"sd-1.5", "sdxl"}
    assert len({job.time for job in arrivals if job.submitter != "hurried"}) > 20


@pytest.mark.parametrize("form", [Macs, Fleet, Jobs, Fault, Faults])
def test_the_page_on_the_simulator_names_every_field_that_its_files_can_have(form: type) -> None:
    page = (EXAMPLES.parents[1] / "docs" / "simulator.md").read_text("utf-8")
    names = {field.name for field in fields(form)} - {"mac", "fault"}
    assert {name for name in names if f"`{name}`" not in page and f"`{name} = " not in page} == set()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[mac]]\nchip = 3", "chip"),
        ("[[mac", "is not a fleet"),
        ("[[job]]\nmodel = 'x'", "job"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        parse(text, Fleet, "f.toml")


def test_a_chip_that_nobody_has_measured_is_refused_by_name() -> None:
    with pytest.raises(ScenarioError, match="Apple M9 with 8 GPU cores"):
        Simulation(replace(DESK, mac=(Macs("Apple M9", 8),)), MIXED)


def test_every_row_of_the_table_says_whether_it_was_published_and_by_whom() -> None:
    assert {row.kind for row in speeds().values()} == {"published", "derived"}
    assert all(row.source and row.seconds_per_step > 0 for row in speeds().values())


@pytest.mark.parametrize("is_calibrated", [True, False])
def test_a_model_is_never_placed_on_macs_whose_memory_it_exceeds_once_that_is_known(is_calibrated: bool) -> None:
    small, large = Macs("Apple M1", 8, count=3, memory_gb=8), Macs("Apple M1 Max", 32, memory_gb=64)
    simulation = run(Fleet((small, large), is_calibrated=is_calibrated), Workload((Jobs("sdxl", 40, steps=20),)))
    assert images_once(simulation)
    on_small = sum(mac.image_count for mac in simulation.macs[:3])
    assert on_small == 0 if is_calibrated else on_small <= 3 * DEPTH * UNKNOWN_TASK_IMAGES
    (left,) = summarize(simulation).left_out
    assert (left.chip, left.memory_gb, left.macs, left.model) == ("Apple M1", 8, 3, "sdxl")
    assert "12.0 GB" in left.reason


def test_macs_fresh_from_the_box_compile_each_model_once_and_the_farm_learns_what_that_takes() -> None:
    fleet = Fleet((Macs("Apple M1", 8, count=2),), noise=0.0, spread=0.0, is_calibrated=False, is_compiled=False)
    times = (0.0, 2000.0)
    simulation = run(fleet, Workload(tuple(Jobs("sd-1.5", 40, at=at) for at in times)))
    assert images_once(simulation)
    costs, (mac, _) = MODELS["sd-1.5"], simulation.macs
    first = costs.load_seconds[ANE] + costs.compile_seconds[ANE]
    starts = [min(span.start for span in simulation.records.spans if span.start >= at) - at for at in times]
    assert starts == [first, 0.0]
    (offer,) = (offer for offer in mac.facts.offers if offer.digest == digest("sd-1.5", ANE))
    learned = simulation.state.rates
    assert learned.load_seconds(replace(mac.facts, measurements=()), offer, ANE) == first
    assert learned.load_seconds(mac.facts, offer, ANE) == costs.load_seconds[ANE]


def test_macs_that_differ_by_noise_do_not_go_from_model_to_model() -> None:
    """Whatever chip of theirs does a bit of the other model, it is all one; the plan's choice must not wander."""
    loads: Counter[str] = Counter()

    class Counting(Simulation):
        def _tell_load(self, mac: Mac, loaded: Resident, seconds: float) -> None:
            loads[mac.worker_id] += 1
            super()._tell_load(mac, loaded, seconds)

    fleet = parse((EXAMPLES / "studio.toml").read_text("utf-8"), Fleet, "studio")
    Counting(fleet, Workload((Jobs("sd-1.5", 6000), Jobs("sdxl", 1200, steps=20))), seed=0).run()
    changes = loads.total() - len(loads)
    assert len(loads) == 40
    assert changes <= 40, f"each Mac may change once, at the end: {loads}"
