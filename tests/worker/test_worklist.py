import pytest

from farm.domain import Assignment, AttemptKey, AttemptState
from farm.reports import AttemptReport
from farm.worker.messages import Stop, Withdraw, cancellation, release
from farm.worker.worklist import StoppedError, WithdrawnError, Worklist
from tests.worker.builders import assignment

ONE, TWO = AttemptKey("job", 1), AttemptKey("job", 2)


@pytest.fixture
def ends() -> list[AttemptReport]:
    return []


@pytest.fixture
def worklist(ends: list[AttemptReport]) -> Worklist:
    worklist = Worklist(ends.append)
    for number in (1, 2, 3):
        worklist.take(assignment(number))
    return worklist


def numbers(worklist: Worklist) -> list[int]:
    left: list[Assignment] = []
    while following := worklist.next():
        left.append(following)
    return [following.key.number for following in left]


def test_assignments_are_done_in_order(worklist: Worklist) -> None:
    assert numbers(worklist) == [1, 2, 3]
    assert worklist.next() is None


def test_a_waiting_attempt_that_is_withdrawn_ends_at_once(worklist: Worklist, ends: list[AttemptReport]) -> None:
    worklist.take(cancellation(TWO, "unwanted"))
    assert ends == [AttemptReport(TWO, AttemptState.CANCELLED, "unwanted")]
    assert numbers(worklist) == [1, 3]


def test_the_current_attempt_ends_where_the_order_says(worklist: Worklist, ends: list[AttemptReport]) -> None:
    worklist.next()
    worklist.take(release(ONE))
    worklist.check(between_images=False)
    with pytest.raises(WithdrawnError) as withdrawn:
        worklist.check(between_images=True)
    assert withdrawn.value.end.state is AttemptState.ABANDONED
    assert ends == []


@pytest.mark.parametrize("orders", [[cancellation(ONE, ""), release(ONE)], [release(ONE), cancellation(ONE, "")]])
def test_the_stricter_order_stands(worklist: Worklist, orders: list[Withdraw]) -> None:
    worklist.next()
    for order in orders:
        worklist.take(order)
    with pytest.raises(WithdrawnError) as withdrawn:
        worklist.check(between_images=False)
    assert withdrawn.value.end.state is AttemptState.CANCELLED


def test_an_order_for_one_attempt_does_not_touch_the_next(worklist: Worklist, ends: list[AttemptReport]) -> None:
    worklist.next()
    worklist.take(cancellation(ONE, ""))
    worklist.next()
    worklist.check(between_images=True)
    worklist.take(cancellation(ONE, ""))
    worklist.check(between_images=True)
    assert ends == []
    assert numbers(worklist) == [3]


def test_stop_ends_it(worklist: Worklist) -> None:
    with pytest.raises(StoppedError):
        worklist.take(Stop())
