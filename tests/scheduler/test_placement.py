"""What is placed where: the plan and those who follow it, on small farms."""

import itertools
from dataclasses import replace

import pytest

from farm.domain import AttemptState, Pin
from farm.scheduler import events as ev
from farm.scheduler.explain import Reason, explain
from farm.scheduler.fitting import missing
from farm.scheduler.pull import TASK_IMAGES
from farm.scheduler.scheduler import decide
from farm.scheduler.state import LEASE_SECONDS, FarmState, kind_of, known_workers
from farm.scheduler.transitions import apply
from tests.builders import image_committed, job_opened, worker_facts
from tests.scheduler.farms import Farm, facts


def reasons(farm: Farm, job_id: str) -> dict[str, Reason]:
    return {why.worker_id: why.reason for why in explain(farm.state, farm.state.jobs[job_id], farm.now)}


def test_each_machine_gets_the_model_that_it_is_comparatively_best_at() -> None:
    farm = Farm()
    farm.join("good-at-a", facts({"a": 1.0, "b": 8.0}))
    farm.join("good-at-b", facts({"a": 2.0, "b": 3.0}))  # slower with both than the other is with its best
    farm.submit("ja", "a", 3000)
    farm.submit("jb", "b", 1000)
    farm.decide()
    assert farm.jobs_of("good-at-a") == {"ja"}
    assert farm.jobs_of("good-at-b") == {"jb"}
    assert reasons(farm, "jb")["good-at-a"] is Reason.BETTER_USED


def test_a_higher_priority_comes_first_and_the_lower_one_is_told_so() -> None:
    farm = Farm()
    farm.join("w", facts({"a": 1.0}))
    farm.submit("low", "a", 100)
    farm.submit("high", "a", 100, priority=5)
    farm.decide()
    assert farm.jobs_of("w") == {"high"}
    assert reasons(farm, "low")["w"] is Reason.OTHER_JOB_FIRST


def test_a_job_that_waits_for_long_gets_its_turn_beside_a_higher_priority() -> None:
    farm = Farm()
    farm.join("w", facts({"a": 10.0}))
    farm.submit("low", "a", 100, submitter="bob")
    farm.submit("high", "a", 10_000, priority=5)
    # Nobody can render this one, so it is no bar to reach.
    farm.submit("stuck", "a", 1, priority=100, submitter="carol", pin=Pin(worker_labels={"room": "none"}))
    for _ in range(200):
        farm.decide()
        farm.finish("w", 10.0)
    shares = [started.job_id for started in farm.started]
    assert 0 < shares.count("low") < shares.count("high") / 4


def test_submitters_get_the_same_work_whatever_they_have_submitted() -> None:
    farm = Farm()
    farm.join("w", facts({"a": 1.0}))
    farm.submit("many", "a", 5000, submitter="alice")
    for number in range(10):
        farm.submit(f"few-{number}", "a", 500, submitter="bob")
    for _ in range(60):
        farm.decide()
        farm.finish("w")
    images = dict.fromkeys(("many", "few"), 0)
    for started in farm.started:
        images[started.job_id.split("-")[0]] += started.image_count
    assert abs(images["many"] - images["few"]) <= 60


@pytest.mark.parametrize(("model", "steps"), [("a", 9), ("b", 10)])
def test_on_one_machine_a_second_submitter_gets_its_turn_though_its_images_are_of_another_kind(
    model: str, steps: int
) -> None:
    farm = Farm()
    farm.join("w", facts({"a": 10.0, "b": 10.0}))
    farm.submit("many", "a", 2000, submitter="alice")
    farm.submit("few", model, 2000, submitter="bob", steps=steps)
    for _ in range(100):
        farm.decide()
        farm.finish("w", 10.0)
    jobs = [started.job_id for started in farm.started]
    assert abs(jobs.count("many") - jobs.count("few")) < 20
    changes = sum(one != other for one, other in itertools.pairwise(jobs))
    assert changes >= 2, "nobody waits for good"
    assert model == "a" or changes < 20, "it changes models, and not for the sake of a fraction"


def test_who_comes_later_starts_level_with_the_others_whoever_has_a_job_that_fits_nobody() -> None:
    farm = Farm()
    farm.join("w", facts({"a": 1.0}))
    nowhere = Pin(worker_labels={"room": "none"})
    farm.submit("first", "a", 10_000, submitter="alice")
    farm.submit("stuck", "a", 1, submitter="carol", pin=nowhere)
    farm.submit("stuck-too", "a", 1, submitter="bob", pin=nowhere)
    render(farm, 50)
    farm.submit("bobs", "a", 10_000, submitter="bob")
    farm.submit("daves", "a", 10_000, submitter="dave")
    before = len(farm.started)
    render(farm, 30)
    jobs = [started.job_id for started in farm.started[before:]]
    assert all(9 <= jobs.count(job_id) <= 12 for job_id in ("first", "bobs", "daves"))


def test_who_paused_a_job_has_no_credit_from_the_time_of_the_pause() -> None:
    farm = Farm()
    farm.join("w", facts({"a": 1.0}))
    farm.submit("first", "a", 10_000, submitter="alice")
    farm.submit("paused", "a", 10_000, submitter="bob")
    apply(farm.state, ev.JobPaused("paused", farm.now, "by its owner"))
    render(farm, 50)
    apply(farm.state, ev.JobResumed("paused", farm.now))
    before = len(farm.started)
    render(farm, 30)
    jobs = [started.job_id for started in farm.started[before:]]
    assert abs(jobs.count("first") - jobs.count("paused")) <= 4


def render(farm: Farm, tasks: int) -> None:
    for _ in range(tasks):
        farm.decide()
        farm.finish("w")


def test_a_worker_stays_with_the_model_that_it_has_loaded() -> None:
    farm = Farm()
    farm.join("w", facts({"a": 1.0, "b": 1.0}))
    farm.submit("ja", "a", 100)
    farm.submit("jb", "b", 100)
    models = []
    while farm.state.jobs:
        farm.decide()
        attempt = farm.state.attempt(farm.state.workers["w"].attempts[0])
        models.append(attempt.started.model_digest)
        farm.load("w")
        farm.finish("w")
        farm.decide()
    assert sum(one != other for one, other in itertools.pairwise(models)) == 1


def test_a_slow_machine_sits_out_the_end_and_a_quick_one_doubles_what_is_late() -> None:
    farm = Farm()
    farm.join("slow", facts({"a": 100.0}))
    farm.submit("j", "a", 6)
    farm.decide()
    farm.join("quick", facts({"a": 1.0}))
    farm.pass_time(1.0)
    while farm.state.jobs:
        farm.decide()
        while farm.state.workers["quick"].attempts:
            farm.finish("quick")
            farm.decide()
        farm.pass_time(1.0)
    tasks_of_slow = {started.number for started in farm.started if started.worker_id == "slow"}
    doubled = {started.task_number for started in farm.started if started.number != started.task_number}
    assert doubled == tasks_of_slow
    assert farm.now < 100.0, "nobody waited for the slow machine"


def test_a_quick_machine_joins_two_that_are_slow() -> None:
    farm = Farm()
    farm.join("slowest", facts({"a": 100.0}))
    farm.submit("j", "a", 1)
    farm.decide()
    farm.join("slow", facts({"a": 40.0}))
    farm.pass_time(1.0)
    assert [started.worker_id for started in farm.decide()] == ["slow"]
    farm.join("as-slow", facts({"a": 40.0}))
    farm.join("quick", facts({"a": 1.0}))
    farm.pass_time(1.0)
    assert [started.worker_id for started in farm.decide()] == ["quick"], "one that brings nothing is left idle"


def test_machines_with_nothing_else_to_do_share_what_is_late_among_them() -> None:
    farm = Farm()
    for number in range(5):
        farm.join(f"slow-{number}", facts({"a": 100.0}))
    farm.submit("j", "a", 5)
    farm.decide()
    farm.pass_time(1.0)
    for number in range(20):
        farm.join(f"quick-{number}", facts({"a": 2.0}))
    doubled = [started.task_number for started in farm.decide()]
    assert sorted(doubled) == [1, 2, 3, 4, 5]


def test_slow_machines_do_not_leave_the_end_to_a_quick_one_that_is_set_aside_for_the_job() -> None:
    farm = Farm()
    farm.join("quick", facts({"a": 1.0}))
    farm.submit("j", "a", 20)
    farm.decide()
    slow = [f"slow-{number}" for number in range(3)]
    for worker_id in slow:
        farm.join(worker_id, facts({"a": 30.0}))
    farm.fail("quick")
    apply(farm.state, ev.WorkerSetAside("j", farm.now, "quick", "it failed"))
    farm.decide()
    assert [farm.jobs_of(worker_id) for worker_id in slow] == [{"j"}] * 3
    for worker_id in slow:
        apply(farm.state, ev.WorkerLeft(worker_id, farm.now, "it is gone"))
    assert farm.decide() == [], "nobody is left who may render it"


def test_what_a_suspended_worker_holds_is_doubled_by_one_with_nothing_else_to_do() -> None:
    farm = Farm()
    farm.join("away", facts({"a": 1.0}))
    farm.submit("j", "a", 2)
    held = {started.number for started in farm.decide()}
    farm.join("idle", facts({"a": 1.0}))
    apply(farm.state, ev.WorkerSuspended("away", farm.now, "Ray lost the way to it"))
    while farm.state.jobs:
        farm.decide()
        farm.finish("idle")
        farm.decide()
    assert held == {started.task_number for started in farm.started if started.worker_id == "idle"}
    assert farm.now < LEASE_SECONDS, "nobody waited for the lease of the worker that is away"


def test_the_loser_of_two_attempts_ends_as_cancelled() -> None:
    farm = Farm()
    farm.join("slow", facts({"a": 100.0}))
    farm.submit("j", "a", 1)
    (first,) = farm.decide()
    farm.join("quick", facts({"a": 1.0}))
    farm.pass_time(1.0)
    (second,) = farm.decide()
    apply(farm.state, farm.image("j", second.number, 0, "quick", 1.0))
    ended = next(event for event in decide(farm.state, farm.now) if isinstance(event, ev.AttemptEnded))
    assert (ended.number, ended.state) == (first.number, AttemptState.CANCELLED)


def test_tasks_are_large_while_much_remains_and_single_images_at_the_end() -> None:
    farm = Farm()
    for number in range(4):
        farm.join(f"w{number}", facts({"a": 1.0}))
    farm.submit("j", "a", 400)
    while farm.state.jobs:
        farm.decide()
        for worker in list(farm.state.workers.values()):
            if worker.attempts:
                farm.finish(worker.worker_id, 0.25)
        farm.decide()
    sizes = [started.image_count for started in farm.started if started.number == started.task_number]
    assert sizes[0] >= 20
    assert sizes[-1] == 1


def test_a_variant_that_does_not_fit_into_memory_is_not_placed_there() -> None:
    farm = Farm()
    farm.join("small", facts({"a": 1.0}, memory_gb=8, peak_gb=12))
    farm.join("large", facts({"a": 2.0}, memory_gb=16, peak_gb=12))
    farm.submit("j", "a", 100)
    farm.decide()
    assert farm.jobs_of("small") == set()
    assert farm.jobs_of("large") == {"j"}
    assert reasons(farm, "j")["small"] is Reason.LACKS_MEMORY


def test_a_pin_to_labels_is_kept_and_labels_without_a_pin_tell_no_machines_apart() -> None:
    farm = Farm()
    for room in ("1", "2", "3"):
        farm.join(f"w{room}", facts({"a": 1.0}, room=room))
    assert len(farm.state.groups) == 1
    farm.submit("j", "a", 100, pin=Pin(worker_labels={"room": "2"}))
    assert len(farm.state.groups) == 3
    farm.decide()
    assert [farm.jobs_of(f"w{room}") for room in "123"] == [set(), {"j"}, set()]
    assert reasons(farm, "j")["w1"] is Reason.PINNED_AWAY


def test_what_is_missing_is_said_only_where_no_worker_fits() -> None:
    farm = Farm()
    farm.submit("j", "b", 1, pin=Pin(worker_labels={"room": "2"}))
    kind = kind_of(farm.state.jobs["j"].spec)
    assert missing(farm.state.rates, kind, known_workers(farm.state)) == []
    farm.join("w1", facts({"a": 1.0}, room="2"))
    farm.join("w2", facts({"b": 1.0}))
    assert missing(farm.state.rates, kind, known_workers(farm.state)) == [
        "w1 does not have the model b",
        "w2 has no label room=2, which the job is pinned to",
    ]
    farm.join("w3", facts({"b": 1.0}, room="2"))
    assert missing(farm.state.rates, kind, known_workers(farm.state)) == []


def test_the_only_worker_never_sits_out_the_tail_however_slow_it_turns_out_to_be() -> None:
    """Rules out a farm that stands still until the next plan, because the last one thought better of the worker."""
    state = FarmState()
    apply(state, ev.WorkerJoined("w", 0.0, worker_facts()))
    apply(state, job_opened(image_count=5))
    settled = 0
    while state.jobs:
        started = [event for event in decided(state) if isinstance(event, ev.AttemptStarted)]
        assert started or not state.jobs, f"nothing is placed after {settled} images"
        for attempt in started:
            for index in range(attempt.first_index, attempt.first_index + attempt.image_count):
                apply(state, image_committed(number=attempt.number, index=index, seconds=1000.0))
                settled += 1
            apply(state, ev.AttemptEnded("j", 0.0, attempt.number, AttemptState.SUCCEEDED, ""))
    assert settled == 5


def decided(state: FarmState) -> list[ev.Event]:
    happened = []
    for event in decide(state, 0.0):
        apply(state, event)
        happened.append(event)
    return happened


def test_a_task_of_very_quick_images_is_still_read_and_sent_in_a_moment() -> None:
    farm = Farm()
    farm.join("w", facts({"a": 0.001}))
    farm.submit("j", "a", 200_000)
    farm.decide()
    assert {started.image_count for started in farm.started} == {TASK_IMAGES}


def test_one_small_image_beside_millions_of_large_ones_is_planned_and_does_not_stop_the_farm() -> None:
    farm = Farm()
    farm.join("w1", facts({"a": 50.0, "b": 1.0, "c": 2.0}))
    farm.join("w2", facts({"a": 20.0, "b": 2.0, "c": 1.5}))
    farm.submit("large", "a", 3_000_000, steps=50)
    farm.submit("small", "b", 1, steps=1)
    farm.submit("other", "c", 20_000, submitter="bob", steps=1)
    farm.decide()
    assert farm.state.plan is not None
    assert farm.state.plan.ends.keys() == {"large", "small", "other"}
    assert all(farm.jobs_of(worker_id) for worker_id in ("w1", "w2"))


def test_a_job_of_lower_priority_and_another_model_does_not_make_the_only_machine_load_every_minute() -> None:
    farm = Farm()
    machine = facts({"a": 10.0, "b": 30.0})
    farm.join(
        "w", replace(machine, measurements=tuple(replace(one, load_seconds=40.0) for one in machine.measurements))
    )
    farm.submit("first", "a", 600, priority=1)
    farm.submit("other", "b", 600, submitter="bob")
    models = []
    for _ in range(100):
        farm.decide()
        farm.load("w")
        key = farm.state.workers["w"].attempts[0]
        models.append(farm.state.jobs[key.job_id].spec.model)
        farm.finish("w", {"a": 10.0, "b": 30.0}[models[-1]])
    changes = sum(one != other for one, other in itertools.pairwise(models))
    assert "b" in models, "it does not starve"
    assert changes * 40.0 < farm.now / 6, "and loading costs little"
