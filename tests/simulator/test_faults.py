import math
import random
from collections.abc import Sequence

import pytest

from farm.simulator.faults import Upset, stays, upsets
from farm.simulator.scenario import Fault, Faults


def changes(*faults: Fault, joins: Sequence[float] = (0.0,)) -> list[tuple[float, str, float]]:
    """What happens to the first Mac."""
    found = upsets(Faults(faults), joins, random.Random(0))
    return [(upset.time, upset.kind, upset.factor) for upset in found if upset.mac == 0]


def there(*faults: Fault, join: float = 0.0) -> list[tuple[float, float]]:
    """When the only Mac is there."""
    return stays(upsets(Faults(faults), [join], random.Random(0)), 1)[0]


@pytest.mark.parametrize(
    ("away", "when"),
    [
        ([], [(100.0, math.inf)]),
        ([(20.0, 30.0)], [(100.0, math.inf)]),
        ([(20.0, 130.0)], [(150.0, math.inf)]),
        ([(120.0, 30.0)], [(100.0, 120.0), (150.0, math.inf)]),
        ([(120.0, 0.0)], [(100.0, 120.0)]),
        ([(20.0, 0.0)], []),
        ([(100.0, 50.0)], [(150.0, math.inf)]),
    ],
)
def test_a_mac_is_there_once_its_join_time_has_come_and_while_it_is_not_away(
    away: list[tuple[float, float]], when: list[tuple[float, float]]
) -> None:
    assert there(*(Fault("away", at=at, seconds=seconds) for at, seconds in away), join=100.0) == when


def test_a_mac_that_is_away_twice_at_once_is_back_when_the_last_of_both_ends() -> None:
    first, second = Fault("away", at=10.0, seconds=50.0), Fault("away", at=30.0, seconds=100.0)
    assert there(first, second) == there(second, first) == [(0.0, 10.0), (130.0, math.inf)]


def test_a_mac_whose_absences_follow_upon_each_other_does_not_return_between_them() -> None:
    assert there(Fault("away", at=10.0, seconds=20.0), Fault("away", at=30.0, seconds=20.0)) == [
        (0.0, 10.0),
        (50.0, math.inf),
    ]


def test_a_mac_is_as_slow_as_the_worst_that_holds_makes_it() -> None:
    hot, busy = Fault("slow", at=10.0, seconds=50.0, factor=2.0), Fault("slow", at=20.0, seconds=20.0, factor=5.0)
    slow = [(time, factor) for time, kind, factor in changes(hot, busy) if kind == "slow"]
    assert slow == [(10.0, 2.0), (20.0, 5.0), (40.0, 2.0), (60.0, 1.0)]


def test_a_mac_makes_garbage_until_the_last_reason_for_it_ends() -> None:
    faults = (Fault("garbage", at=10.0, seconds=50.0), Fault("garbage", at=20.0, seconds=20.0))
    assert [change for change in changes(*faults) if change[1] in ("garbage", "sound")] == [
        (10.0, "garbage", 1.0),
        (60.0, "sound", 1.0),
    ]


def test_moments_come_in_the_order_of_time_whichever_fault_and_mac_they_are_of() -> None:
    faults = Faults((Fault("crash", every=5.0, until=300.0), Fault("away", every=10.0, seconds=20.0, until=300.0)))
    found = upsets(faults, [0.0, 50.0, 100.0], random.Random(1))
    assert [upset.time for upset in found] == sorted(upset.time for upset in found)
    assert {upset.kind for upset in found} == {"join", "leave", "crash"}


def test_no_mac_joins_that_is_there_or_leaves_that_is_not() -> None:
    faults = Faults((Fault("away", every=10.0, seconds=60.0, until=2000.0),))
    by_mac: dict[int, list[Upset]] = {0: [], 1: []}
    for upset in upsets(faults, [0.0, 500.0], random.Random(2)):
        by_mac[upset.mac].append(upset)
    for mine in by_mac.values():
        assert len(mine) > 10
        assert {upset.kind for upset in mine[::2]} == {"join"}
        assert {upset.kind for upset in mine[1::2]} == {"leave"}
    assert min(upset.time for upset in by_mac[1]) >= 500.0
