import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.scheduler.ranges import RangeSet

SPAN = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))
CHANGES = st.lists(st.tuples(st.booleans(), SPAN), max_size=30)


@given(CHANGES)
def test_it_holds_what_a_set_of_the_same_history_holds_in_as_few_ranges_as_can_be(
    changes: list[tuple[bool, tuple[int, int]]],
) -> None:
    """Rules out ranges that overlap, touch, are empty or drift from their count."""
    ranges, model = RangeSet(), set[int]()
    for adds, (start, stop) in changes:
        if adds:
            ranges.add(start, stop)
            model |= set(range(start, stop))
        else:
            ranges.discard(start, stop)
            model -= set(range(start, stop))
        assert list(ranges) == sorted(model)
        assert len(ranges) == len(model)
        assert all(before[1] < after[0] for before, after in zip(ranges.ranges(), ranges.ranges()[1:], strict=False))


@given(CHANGES, SPAN)
def test_it_knows_which_indices_and_runs_it_holds(
    changes: list[tuple[bool, tuple[int, int]]], span: tuple[int, int]
) -> None:
    ranges = RangeSet(span for adds, span in changes if adds)
    model = {index for adds, span in changes if adds for index in range(*span)}
    assert [index in ranges for index in range(60)] == [index in model for index in range(60)]
    assert ranges.covers(*span) == (set(range(*span)) <= model)


def test_the_first_run_is_the_lowest_and_no_longer_than_the_limit() -> None:
    ranges = RangeSet([(10, 20), (3, 5)])
    assert ranges.first_run(8) == (3, 5)
    assert ranges.first_run(1) == (3, 4)


def test_the_first_run_goes_round_what_is_to_be_avoided() -> None:
    ranges = RangeSet([(3, 6), (10, 20)])
    assert ranges.first_run(8, {3, 5}) == (4, 5)
    assert ranges.first_run(3, {3, 4, 5, 10}) == (11, 14)
    with pytest.raises(KeyError):
        ranges.first_run(8, set(range(20)))


def test_a_million_images_that_wait_are_one_range() -> None:
    ranges = RangeSet([(0, 1_000_000)])
    assert (len(ranges), ranges.ranges()) == (1_000_000, [(0, 1_000_000)])
