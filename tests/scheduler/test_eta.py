from dataclasses import replace

import pytest

from farm.domain import ComputeUnit, JobSpec, Pin
from farm.scheduler import events as ev
from farm.scheduler.eta import eta, eta_ahead
from farm.scheduler.state import kind_of
from farm.scheduler.transitions import apply
from tests.builders import DEFAULTS, job_opened, job_spec
from tests.scheduler.farms import Farm, facts, offer


def test_nothing_is_foretold_of_a_model_before_its_first_image() -> None:
    farm = Farm()
    farm.join("w", replace(facts({"a": 1.0}), measurements=()))
    farm.submit("j", "a", 100)
    started = farm.decide()[0]
    assert eta(farm.state, farm.state.jobs["j"], farm.now) is None
    apply(farm.state, farm.image("j", started.number, 0, "w", 1.0))
    farm.decide()
    assert 90.0 < foretold(farm) < 120.0


def test_a_job_whose_last_images_are_with_a_draining_worker_ends_when_that_one_is_done() -> None:
    farm = Farm()
    farm.join("w", facts({"a": 10.0}))
    farm.submit("j", "a", 2)
    farm.decide()
    apply(farm.state, farm.image("j", 1, 0, "w", 10.0))
    apply(farm.state, ev.WorkerDrained("w", farm.now, now=False))
    farm.decide()
    assert foretold(farm) == pytest.approx(10.0, rel=0.1)
    apply(farm.state, ev.WorkerSuspended("w", farm.now, "its user came back"))
    apply(farm.state, ev.WorkerUndrained("w", farm.now))
    farm.pass_time(20.0)
    farm.decide()
    assert eta(farm.state, farm.state.jobs["j"], farm.now) is None, "nobody knows how long that will take"


def test_a_job_of_one_image_takes_that_image_and_the_load_however_many_machines_there_are() -> None:
    farm = Farm()
    for number in range(20):
        farm.join(f"w{number}", facts({"a": 10.0}))
    farm.submit("j", "a", 1)
    alone = eta_ahead(farm.state, farm.state.jobs["j"].kind, "alice", 0, 1, farm.now)
    assert alone is not None
    assert alone.likely == pytest.approx(10.0 + 1.0, rel=0.1)
    farm.decide()
    assert foretold(farm) == pytest.approx(alone.likely, rel=0.1), "what was said before is what is said after"


def test_what_a_pinned_job_takes_is_foretold_by_the_workers_with_its_label_though_no_live_job_asks_for_it() -> None:
    farm = Farm()
    for number in range(8):
        farm.join(f"w{number}", facts({"a": 10.0}, room="attic" if number in (3, 5) else "cellar"))
    for room, hands in (("attic", 2), ("cellar", 6)):
        demand = kind_of(JobSpec("a", defaults=DEFAULTS, pin=Pin(worker_labels={"room": room})))
        ahead = eta_ahead(farm.state, replace(demand, steps=10), "alice", 0, 120, farm.now)
        assert ahead is not None
        assert ahead.likely == pytest.approx(120 * 10.0 / hands, rel=0.2)
    nowhere = kind_of(JobSpec("a", defaults=DEFAULTS, pin=Pin(worker_labels={"room": "garden"})))
    assert eta_ahead(farm.state, nowhere, "alice", 0, 120, farm.now) is None


@pytest.mark.parametrize("submitter", ["anna", "ben", "clara"])
@pytest.mark.parametrize("priority", [0, 1, 2])
def test_on_a_busy_farm_a_dry_run_foretells_what_the_job_is_told_when_it_is_accepted(
    submitter: str, priority: int
) -> None:
    farm = Farm()
    for number in range(4):
        farm.join(f"w{number}", facts({"a": 1.0, "b": 2.0}))
    farm.submit("first", "a", 400, "anna", priority=2)
    farm.submit("second", "b", 300, "anna", priority=1)
    farm.submit("third", "a", 500, "ben", priority=1)
    farm.submit("fourth", "a", 200, "clara", priority=0)
    farm.decide()
    demand = farm.state.jobs["fourth"].kind
    ahead = eta_ahead(farm.state, demand, submitter, priority, 100, farm.now)
    farm.pass_time(1.0)
    farm.submit("j", "a", 100, submitter, priority=priority)
    farm.decide()
    assert ahead is not None
    assert ahead.likely == pytest.approx(foretold(farm), rel=0.15)


def test_entries_with_steps_of_their_own_teach_what_a_step_takes() -> None:
    farm = Farm()
    machine = facts({"a": 1.0})
    farm.join("w", machine)
    farm.submit("j", "a", 8)
    started = farm.decide()[0]
    for index in range(started.image_count):
        image = replace(farm.image("j", started.number, index, "w", 5.0), evaluations=50)
        apply(farm.state, image)
    assert farm.state.rates.estimate(machine, offer("a"), ComputeUnit.CPU_ONLY).seconds(50) == pytest.approx(
        5.0, rel=0.1
    )
    assert farm.state.rates.relative_speed("w") == pytest.approx(1.0, rel=0.1)


def test_a_job_is_placed_by_what_its_entries_say_and_one_of_an_older_journal_by_its_defaults() -> None:
    assert kind_of(job_spec()).steps == 4
    farm = Farm()
    apply(farm.state, replace(job_opened(), evaluations=50))
    assert farm.state.jobs["j"].kind.steps == 50
    assert farm.state.jobs["j"].kind.work == pytest.approx(50 * 64 * 64 / 1e6)


def foretold(farm: Farm) -> float:
    """Seconds to the likely end of the job."""
    expected = eta(farm.state, farm.state.jobs["j"], farm.now)
    assert expected is not None
    return expected.likely - farm.now
