import random
from dataclasses import replace

from farm.scheduler import events as ev
from farm.scheduler.forecast import Forecasts, checkpoint
from farm.scheduler.transitions import apply
from tests.scheduler.farms import Farm, facts


def ratios(farm: Farm) -> list[float]:
    """What the farm has learned of forecasts."""
    return list(farm.state.forecasts.newest)


def render(farm: Farm, job_id: str, seconds: float) -> None:
    """Has the one worker of a farm render a job to its end, each image in so many seconds."""
    farm.decide()
    while job_id in farm.state.jobs:
        if farm.state.workers["w"].attempts:
            farm.finish("w", seconds)
        farm.decide()


def test_before_a_job_has_ended_the_interval_is_wide_and_in_order() -> None:
    eta = Forecasts().interval(1000.0, 100.0)
    assert 1000.0 < eta.earliest < 1080.0 < eta.likely < 1120.0 < eta.latest


def test_the_interval_covers_four_in_five_of_what_comes_whatever_the_errors_are() -> None:
    chance, forecasts, hits = random.Random(1), Forecasts(), 0
    for round_number in range(1500):
        eta = forecasts.interval(0.0, 100.0)
        end = 100.0 * chance.lognormvariate(0.5, 0.7)
        hits += round_number >= 500 and eta.earliest <= end <= eta.latest
        forecasts.learn(0, 0.0, 100.0, end)
    assert 0.75 <= hits / 1000 <= 0.85


def test_a_farm_that_always_takes_half_as_long_again_is_believed() -> None:
    forecasts = Forecasts()
    for _ in range(200):
        forecasts.learn(0, 0.0, 100.0, 150.0)
    assert forecasts.interval(0.0, 100.0).likely == 150.0


def test_jobs_that_are_half_done_are_judged_by_what_became_of_their_like() -> None:
    forecasts = Forecasts()
    for _ in range(200):
        forecasts.learn(checkpoint(0.0), 0.0, 100.0, 150.0)
        forecasts.learn(checkpoint(0.6), 60.0, 100.0, 100.0)
    assert forecasts.interval(0.0, 100.0, settled_part=0.4).likely == 150.0
    assert forecasts.interval(0.0, 100.0, settled_part=0.9).likely == 100.0


def test_a_night_of_which_nothing_was_rendered_is_no_error_of_the_forecast() -> None:
    def paused(farm: Farm) -> None:
        apply(farm.state, ev.JobPaused("j", farm.now, "for the night"))
        farm.pass_time(12 * 3600.0)
        apply(farm.state, ev.JobResumed("j", farm.now))

    def asleep(farm: Farm) -> None:
        farm.pass_time(12 * 3600.0)
        apply(farm.state, ev.ClockJumped(farm.now))

    for night in (paused, asleep):
        farm = Farm()
        farm.join("w", facts({"a": 1.0}))
        farm.submit("j", "a", 40)
        farm.decide()
        night(farm)
        render(farm, "j", 1.0)
        assert ratios(farm), night.__name__
        assert all(0.8 < ratio < 1.25 for ratio in ratios(farm)), night.__name__


def test_what_was_foretold_before_anything_was_measured_teaches_nothing_of_forecasts() -> None:
    farm = Farm()
    farm.join("w", replace(facts({"a": 1.0}), measurements=()))
    farm.submit("j", "a", 100)
    render(farm, "j", 60.0)
    assert ratios(farm)
    assert all(0.8 < ratio < 1.25 for ratio in ratios(farm))
