"""Who is held responsible for an image that failed, and what follows."""

import pytest

from farm.domain import WorkerState
from farm.scheduler import events as ev
from farm.scheduler.blame import ATONEMENT, ELSEWHERE_SECONDS, MAX_BLAME, MAX_CRASHES, MAX_STRIKES
from farm.scheduler.explain import Reason, explain
from farm.scheduler.transitions import apply
from tests.scheduler.farms import Farm, facts


def farm_of(*workers: str, images: int = 100, seconds: float = 30.0) -> Farm:
    """Workers that are alike, and a job whose tasks are of one image each."""
    farm = Farm()
    for worker_id in workers:
        farm.join(worker_id, facts({"a": seconds}))
    farm.submit("j", "a", images)
    farm.decide()
    return farm


def reason(farm: Farm, worker_id: str) -> Reason:
    return {why.worker_id: why.reason for why in explain(farm.state, farm.state.jobs["j"], farm.now)}[worker_id]


def held(farm: Farm, worker_id: str) -> set[int]:
    """Images that a worker is to render."""
    keys = farm.state.workers[worker_id].attempts
    return {index for key in keys for index in farm.state.attempt(key).task.remaining}


def fail_until_idle(farm: Farm, worker_id: str) -> None:
    while farm.state.workers[worker_id].attempts:
        farm.fail(worker_id)
        farm.decide()


@pytest.mark.parametrize("is_crash", [False, True])
def test_an_image_that_failed_goes_to_another_worker(is_crash: bool) -> None:
    farm = farm_of("bad", "good")
    first = min(held(farm, "bad"))
    farm.fail("bad", is_crash=is_crash)
    farm.decide()
    assert first not in held(farm, "bad")
    farm.finish("good", 30.0)
    farm.decide()
    assert first in held(farm, "good")


def test_an_image_that_failed_is_tried_again_where_it_failed_if_nobody_else_can() -> None:
    farm = farm_of("only", images=1)
    for _ in range(MAX_STRIKES):
        assert held(farm, "only") == {0}
        farm.fail("only")
        farm.decide()
    assert farm.failed == 1
    assert not farm.state.jobs


def test_an_image_that_failed_is_tried_again_where_it_failed_if_the_others_never_get_round_to_it() -> None:
    farm = farm_of("bad", "busy", images=3)
    fail_until_idle(farm, "bad")
    waiting = set(farm.state.jobs["j"].pending)
    assert waiting
    assert not held(farm, "bad")
    farm.pass_time(ELSEWHERE_SECONDS)
    farm.decide()
    assert held(farm, "bad") & waiting


def test_an_image_that_fails_everywhere_stays_failed_and_nobody_is_blamed() -> None:
    farm = farm_of("a", "b", "c", images=1)
    workers = set()
    while farm.state.jobs:
        worker_id = next(name for name in ("a", "b", "c") if held(farm, name))
        workers.add(worker_id)
        farm.fail(worker_id)
        if farm.state.jobs:
            assert all(standing.blame == 0 for standing in farm.state.jobs["j"].standings.values())
        farm.decide()
    assert farm.failed == 1
    assert workers == {"a", "b", "c"}


def test_no_image_is_given_up_for_crashes_of_one_worker_while_another_has_not_tried_it() -> None:
    farm = farm_of("bad", "busy", images=2)
    for _ in range(MAX_CRASHES + 1):
        if held(farm, "bad"):
            farm.fail("bad", is_crash=True)
        farm.pass_time(ELSEWHERE_SECONDS)
        farm.decide()
    assert farm.failed == 0
    assert "j" in farm.state.jobs


def test_a_worker_that_fails_three_images_in_a_row_waits_until_others_have_tried_them() -> None:
    farm = farm_of("bad", "good")
    fail_until_idle(farm, "bad")
    assert len(farm.state.jobs["j"].troubles) <= MAX_STRIKES + 2
    assert reason(farm, "bad") is Reason.OTHERS_TRY_FIRST


def test_a_worker_whose_three_failures_others_rendered_is_set_aside_for_that_job_only() -> None:
    farm = farm_of("bad", "good")
    fail_until_idle(farm, "bad")
    while not farm.state.jobs["j"].standings["bad"].aside:
        farm.finish("good", 30.0)
        farm.decide()
    assert farm.state.jobs["j"].standings["bad"].blame >= MAX_BLAME
    assert reason(farm, "bad") is Reason.SET_ASIDE
    assert farm.state.workers["bad"].state is WorkerState.ACTIVE
    assert "set aside for job j: it failed 3 times on images that others rendered" in farm.state.workers["bad"].reason
    farm.pass_time(2 * ELSEWHERE_SECONDS)
    farm.submit("other", "a", 10)
    farm.decide()
    assert farm.jobs_of("bad") == {"other"}


def set_aside() -> Farm:
    farm = farm_of("bad", "good")
    fail_until_idle(farm, "bad")
    while not farm.state.jobs["j"].standings["bad"].aside:
        farm.finish("good", 30.0)
        farm.decide()
    return farm


def test_a_worker_that_is_set_aside_may_work_again_once_it_is_resumed() -> None:
    farm = set_aside()
    apply(farm.state, ev.WorkerUndrained("bad", farm.now))
    farm.decide()
    assert farm.jobs_of("bad") == {"j"}
    assert farm.state.workers["bad"].reason == ""


def test_the_end_is_foretold_without_the_worker_that_is_set_aside() -> None:
    farm = set_aside()
    farm.finish("good", 30.0)
    farm.pass_time(10.0)  # by then there is a new plan
    farm.decide()
    assert farm.state.plan is not None
    left = farm.state.jobs["j"].unsettled * 30.0
    assert farm.state.plan.ends["j"] - farm.now == pytest.approx(left, rel=0.1)


def test_the_job_is_finished_without_the_worker_that_was_set_aside_and_then_nothing_is_held_against_it() -> None:
    farm = set_aside()
    while "j" in farm.state.jobs:
        farm.finish("good", 30.0)
        farm.decide()
    assert farm.failed == 0
    assert not farm.state.workers["bad"].failing


def test_what_a_worker_holds_of_the_job_is_taken_from_it_when_it_is_set_aside() -> None:
    farm = farm_of("bad", "good")
    for _ in range(MAX_BLAME - 1):
        farm.fail("bad")
        farm.decide()
    farm.fail("bad")
    still = set(farm.state.workers["bad"].attempts)
    while not farm.state.jobs["j"].standings["bad"].aside:
        farm.finish("good", 30.0)
        farm.decide()
    assert still
    assert not farm.state.workers["bad"].attempts


def test_the_last_worker_that_is_left_is_not_set_aside() -> None:
    farm = farm_of("bad", "good")
    fail_until_idle(farm, "bad")
    while len(farm.state.culprits) == 0:
        farm.finish("good", 30.0)
        if farm.state.culprits:
            apply(farm.state, ev.WorkerSuspended("good", farm.now, "hot"))
        farm.decide()
    assert not farm.state.jobs["j"].standings["bad"].aside
    assert held(farm, "bad"), "nobody else is there, so it may try"
    apply(farm.state, ev.WorkerSuspended("good", farm.now, ""))
    farm.decide()
    assert farm.state.jobs["j"].standings["bad"].aside


def test_a_worker_that_was_left_alone_and_did_well_is_not_set_aside_any_more() -> None:
    farm = farm_of("fair", "good")
    fail_until_idle(farm, "fair")
    while not farm.state.culprits:
        farm.finish("good", 30.0)
        if farm.state.culprits:
            apply(farm.state, ev.WorkerSuspended("good", farm.now, "hot"))
        farm.decide()
    for _ in range(ATONEMENT):
        farm.finish("fair", 30.0)
        farm.decide()
    apply(farm.state, ev.WorkerSuspended("good", farm.now, ""))
    farm.decide()
    assert not farm.state.jobs["j"].standings["fair"].aside


def test_a_rare_failure_is_made_up_for_by_good_images() -> None:
    farm = farm_of("fair", "good", images=2000)
    for _ in range(4 * MAX_BLAME):
        farm.fail("fair")
        farm.decide()
        for _ in range(15):
            for worker_id in ("fair", "good"):
                farm.finish(worker_id, 30.0)
            farm.decide()
    assert not farm.state.jobs["j"].standings["fair"].aside


def test_an_image_that_only_workers_without_a_success_have_failed_is_left_to_the_others() -> None:
    farm = farm_of("bad-1", "bad-2", "bad-3", "good", images=12)
    for number in (1, 2, 2, 2, 3, 3, 3):
        farm.fail(f"bad-{number}")
        farm.decide()
    assert max(len(trouble.workers) for trouble in farm.state.jobs["j"].troubles.values()) == 3
    while farm.state.jobs:
        if farm.state.workers["good"].attempts:
            farm.finish("good", 30.0)
        else:
            farm.fail(next(name for name, worker in farm.state.workers.items() if worker.attempts))
        farm.decide()
    assert farm.failed == 0


def test_an_image_that_three_have_failed_one_of_whom_rendered_others_since_stays_failed() -> None:
    farm = farm_of("a", "b", "c", "d", images=40)
    poison, failed_by = 0, set()
    while not farm.failed:
        for worker_id in ("a", "b", "c", "d"):
            if poison in held(farm, worker_id) and not farm.failed:
                farm.fail(worker_id)
                failed_by.add(worker_id)
            elif farm.state.workers[worker_id].attempts:
                farm.finish(worker_id, 30.0)
            farm.decide()
    assert len(failed_by) == 3
