import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.scheduler.lp import balance


def test_one_kind_is_spread_by_speed() -> None:
    found = balance({"a": 1, "b": 2}, {"k": 30.0}, {("a", "k"): 1.0, ("b", "k"): 2.0})
    assert found.makespan == pytest.approx(15.0)
    assert found.times == pytest.approx({("a", "k"): 15.0, ("b", "k"): 30.0})


def test_each_group_does_what_it_is_comparatively_best_at() -> None:
    seconds = {("small", "sd"): 20.0, ("small", "xl"): 60.0, ("large", "sd"): 5.0, ("large", "xl"): 50.0}
    found = balance({"small": 1, "large": 1}, {"sd": 20.0, "xl": 2.0}, seconds)
    assert found.makespan == pytest.approx(110.0, rel=0.1)
    assert ("small", "sd") not in found.times
    assert found.prices["xl"] / seconds["small", "xl"] > found.prices["sd"] / seconds["small", "sd"]


@pytest.mark.parametrize("part", [1e-6, 1e-8, 1e-9, 1e-12])
def test_a_kind_that_is_a_tiny_part_of_the_demand_is_planned_all_the_same(part: float) -> None:
    seconds = {("g", "big"): 50.0, ("h", "big"): 20.0, ("g", "tiny"): 1.0, ("h", "tiny"): 2.0}
    found = balance({"g": 3.0, "h": 5.0}, {"big": 1e6, "tiny": 1e6 * part}, seconds)
    done = sum(time / seconds[pair] for pair, time in found.times.items() if pair[1] == "tiny")
    assert done == pytest.approx(1e6 * part, rel=0.1)
    assert found.makespan == pytest.approx(1e6 / (3 / 50 + 5 / 20), rel=1e-4)


def test_numbers_that_are_too_far_apart_for_the_solver_still_give_a_plan_that_can_be_followed() -> None:
    seconds = {("g", "quick"): 1.0, ("h", "quick"): 1.0, ("h", "endless"): 1e12}
    found = balance({"g": 1.0, "h": 1.0}, {"quick": 10.0, "endless": 1.0}, seconds)
    assert found.times["h", "endless"] == pytest.approx(1e12)
    assert found.times["g", "quick"] + found.times["h", "quick"] == pytest.approx(10.0)
    assert found.makespan == pytest.approx(1e12)


costs = st.floats(0.1, 100.0)


@given(st.data())
def test_the_optimum_is_feasible_and_its_prices_prove_it(data: st.DataObject) -> None:
    groups, kinds = range(data.draw(st.integers(1, 5))), range(data.draw(st.integers(1, 4)))
    counts = {group: float(data.draw(st.integers(1, 50))) for group in groups}
    demands = {kind: float(data.draw(st.integers(1, 10_000))) for kind in kinds}
    seconds = {(group, kind): data.draw(costs) for group in groups for kind in kinds}
    found = balance(counts, demands, seconds)
    for kind, demand in demands.items():
        done = sum(time / seconds[pair] for pair, time in found.times.items() if pair[1] == kind)
        assert done == pytest.approx(demand, rel=1e-4)
    for group, count in counts.items():
        used = sum(time for pair, time in found.times.items() if pair[0] == group)
        assert used <= count * found.makespan * (1 + 1e-5)
    # Duality: what the demand is worth at these prices is the optimum, and no group could earn more than its time.
    assert sum(found.prices[kind] * demand for kind, demand in demands.items()) == pytest.approx(
        found.makespan, rel=1e-4
    )
    earned = sum(count * max(found.prices[k] / seconds[g, k] for k in kinds) for g, count in counts.items())
    assert earned <= 1 + 1e-4
