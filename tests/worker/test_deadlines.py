import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.reports import Stage
from farm.worker.deadlines import Deadlines, StepTimes

SECONDS = st.floats(min_value=1e-4, max_value=1e4)


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_has_a_deadline(stage: Stage) -> None:
    assert Deadlines().of_stage(stage, None) > 0


def test_compiling_may_take_half_an_hour_and_loading_five_minutes() -> None:
    assert Deadlines().of_stage(Stage.COMPILE, None) == 30 * 60
    assert Deadlines().of_stage(Stage.LOAD, None) == 5 * 60


def test_the_first_step_has_a_deadline_of_its_own() -> None:
    assert Deadlines(first_step=77).of_stage(Stage.DENOISE, None) == 77


def test_a_step_may_take_ten_times_as_long_as_expected_but_never_less_than_the_floor() -> None:
    deadlines = Deadlines(step_floor=10)
    assert deadlines.of_stage(Stage.DENOISE, 3.0) == 30.0
    assert deadlines.of_stage(Stage.DENOISE, 0.02) == 10.0


def test_nothing_is_expected_before_the_first_step() -> None:
    assert StepTimes().expected is None


@given(st.lists(SECONDS, min_size=1, max_size=30))
def test_the_expected_step_lies_within_those_seen(seconds: list[float]) -> None:
    times = StepTimes()
    for value in seconds:
        times.add(value)
    assert times.expected is not None
    assert min(seconds) <= times.expected <= max(seconds)


@given(SECONDS, st.floats(min_value=1e5, max_value=1e9))
def test_one_stall_does_not_move_the_expected_step(usual: float, stall: float) -> None:
    times = StepTimes()
    for value in (usual, usual, stall, usual):
        times.add(value)
    assert times.expected == usual


def test_a_lasting_slow_down_becomes_the_expected_step() -> None:
    times = StepTimes()
    for value in [0.1] * 500 + [0.4] * 50:
        times.add(value)
    assert times.expected == 0.4
