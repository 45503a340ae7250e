"""What is said of a job and a worker is what the scheduler goes by."""

import pytest

from farm.domain import AttentionVariant, ComputeUnit, Measurement, Pin
from farm.scheduler import events as ev
from farm.scheduler.explain import Reason, explain
from farm.scheduler.transitions import apply
from tests.scheduler.farms import Farm, facts


def detail(farm: Farm, job_id: str, worker_id: str) -> tuple[Reason, str]:
    answers = {why.worker_id: why for why in explain(farm.state, farm.state.jobs[job_id], farm.now)}
    return answers[worker_id].reason, answers[worker_id].detail


@pytest.mark.parametrize("seconds", [10.7, 30.0])
def test_an_idle_worker_is_told_why_it_is_kept_from_images_that_wait_and_loading_counts(seconds: float) -> None:
    farm = Farm()
    farm.join("quick", facts({"a": 1.0}))
    farm.join("slow", facts({"a": seconds}))
    farm.submit("j", "a", 10)
    farm.decide()
    assert farm.state.jobs["j"].is_runnable
    assert not farm.jobs_of("slow")
    reason, text = detail(farm, "j", "slow")
    cost = f"its first image would take {seconds + 1:.0f} s and all of them will be done in 11 s"
    assert (reason, text) == (Reason.TOO_SLOW_NOW, f"could render it, but {cost}"), "the quick one must load, too"


def test_the_job_that_is_named_as_coming_first_is_the_one_that_the_worker_gets_next() -> None:
    farm = Farm()
    farm.join("w", facts({"a": 1.0}))
    for job_id, submitter in (("a1", "alice"), ("a2", "alice"), ("b1", "bob")):
        farm.submit(job_id, "a", 500, submitter)
    farm.decide()
    for _ in range(6):
        reason, text = detail(farm, "a2", "w")
        farm.finish("w")
        (started, *_) = farm.decide()
        assert reason is Reason.OTHER_JOB_FIRST
        assert f"job {started.job_id}" in text


def test_that_another_submitter_has_had_less_is_said() -> None:
    farm = Farm()
    farm.join("w", facts({"a": 1.0}))
    farm.submit("b1", "a", 500, "bob")
    farm.submit("a1", "a", 500, "alice")
    farm.submit("a2", "a", 500, "alice")
    farm.decide()
    farm.state.accounts["bob"].served = 0.0
    assert detail(farm, "a2", "w") == (
        Reason.OTHER_JOB_FIRST,
        "could render it, but job b1, whose submitter has had less so far, comes first",
    )


def test_a_job_of_higher_priority_is_named_by_the_one_that_would_run() -> None:
    farm = Farm()
    farm.join("w", facts({"a": 1.0, "b": 1.0}))
    farm.submit("low", "b", 50)
    farm.submit("first", "a", 500, priority=5)
    farm.submit("second", "a", 500, "bob", priority=5)
    farm.decide()
    reason, text = detail(farm, "low", "w")
    farm.finish("w")
    (started, *_) = farm.decide()
    assert (reason, text) == (
        Reason.OTHER_JOB_FIRST,
        f"could render it, but job {started.job_id} has a higher priority",
    )


def test_a_worker_that_is_away_is_only_waited_for_if_it_could_render_the_job() -> None:
    farm = Farm()
    for worker_id, room in (("here", "cellar"), ("away", "cellar"), ("drained", "attic")):
        farm.join(worker_id, facts({"a": 1.0}, room=room))
    farm.submit("j", "a", 10, pin=Pin(worker_labels={"room": "attic"}))
    apply(farm.state, ev.WorkerLeft("away", farm.now, "it is asleep"))
    apply(farm.state, ev.WorkerDrained("drained", farm.now, now=False))
    farm.decide()
    lacks = (Reason.PINNED_AWAY, "has no label room=attic, which the job is pinned to")
    assert detail(farm, "j", "here") == lacks
    assert detail(farm, "j", "away") == lacks
    assert detail(farm, "j", "drained") == (Reason.DRAINING, "is draining: drained by an administrator")


@pytest.mark.parametrize(
    ("pin", "why"),
    [
        (Pin(compute_unit=ComputeUnit.CPU_AND_GPU), "the job is pinned to CPU_AND_GPU"),
        (
            Pin(attention=AttentionVariant.SPLIT_EINSUM, model_digest="sha256:b"),
            "the job is pinned to SPLIT_EINSUM and sha256:b",
        ),
        (
            Pin(attention=AttentionVariant.ORIGINAL, compute_unit=ComputeUnit.CPU_AND_NE),
            "ORIGINAL, which the job is pinned to, never goes to CPU_AND_NE",
        ),
    ],
)
def test_a_pin_to_a_variant_that_a_worker_lacks_is_told_with_what_it_has(pin: Pin, why: str) -> None:
    farm = Farm()
    farm.join("w", facts({"a": 1.0}))
    farm.submit("j", "a", 10, pin=pin)
    farm.decide()
    assert detail(farm, "j", "w") == (Reason.LACKS_VARIANT, f"has a as ORIGINAL and renders on CPU_ONLY; {why}")


def test_a_model_that_failed_its_trial_is_told_with_what_was_tried() -> None:
    farm = Farm()
    farm.join("w", facts({"a": 1.0}))
    farm.submit("j", "a", 10)
    failed = Measurement("sha256:a", ComputeUnit.CPU_ONLY, failure="weight.bin is cut short")
    apply(farm.state, ev.VariantMeasured("w", failed))
    farm.decide()
    assert detail(farm, "j", "w") == (
        Reason.LACKS_VARIANT,
        "has a, but cannot render with it: ORIGINAL on CPU_ONLY failed when it was tried: weight.bin is cut short",
    )
