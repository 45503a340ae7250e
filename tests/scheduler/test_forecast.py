import random

from farm.scheduler.forecast import Forecasts


def test_before_a_job_has_ended_the_interval_is_wide_and_in_order() -> None:
    eta = Forecasts().interval(1000.0, 100.0)
    assert 1000.0 < eta.earliest < 1080.0 < eta.likely < 1120.0 < eta.latest


def test_the_interval_covers_four_in_five_of_what_comes_whatever_the_errors_are() -> None:
    chance, forecasts, hits = random.Random(1), Forecasts(), 0
    for round_number in range(1500):
        eta = forecasts.interval(0.0, 100.0)
        end = 100.0 * chance.lognormvariate(0.5, 0.7)
        hits += round_number >= 500 and eta.earliest <= end <= eta.latest
        forecasts.learn(0.0, 100.0, end)
    assert 0.75 <= hits / 1000 <= 0.85


def test_a_farm_that_always_takes_half_as_long_again_is_believed() -> None:
    forecasts = Forecasts()
    for _ in range(200):
        forecasts.learn(0.0, 100.0, 150.0)
    assert forecasts.interval(0.0, 100.0).likely == 150.0
