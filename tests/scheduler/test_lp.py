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
