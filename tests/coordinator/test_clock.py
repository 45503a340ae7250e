from dataclasses import dataclass

from farm.coordinator.clock import Clock


@dataclass
class Hands:
    wall: float = 1000.0
    monotonic: float = 50.0

    def pass_seconds(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.monotonic)


def test_it_shows_the_time_of_day_and_advances_with_it() -> None:
    hands = Hands()
    clock = hands.clock()
    hands.pass_seconds(5)
    assert (clock.has_jumped(), clock.now()) == (False, 1005.0)


def test_a_step_of_the_wall_clock_is_no_passing_of_time_until_it_is_asked_about() -> None:
    hands = Hands()
    clock = hands.clock()
    hands.wall -= 3600
    assert clock.now() == 1000.0
    assert clock.has_jumped()
    assert clock.now() == -2600.0
    assert not clock.has_jumped()


def test_sleep_that_the_monotonic_clock_did_not_notice_is_a_jump() -> None:
    hands = Hands()
    clock = hands.clock()
    hands.wall += 8 * 3600
    assert clock.has_jumped()
    assert clock.now() == 1000.0 + 8 * 3600
