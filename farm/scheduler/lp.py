"""The fluid relaxation of scheduling unrelated machines: a small linear program, solved by HiGHS.

Work is taken as divisible: minimise T over times x[g, k] >= 0 that group g spends on kind k, such that every group has
the time (sum over k of x[g, k] <= count[g] * T) and every kind gets done (sum over g of x[g, k] / seconds[g, k] =
demand[k]). T is a lower bound of any makespan (Lawler and Labetoulle 1978). One thread of the simplex method: the same
numbers give the same answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import highspy
import numpy as np

G = TypeVar("G")
K = TypeVar("K")

NEGLIGIBLE = 1e-9
"""Part of the optimum below which a time is rounding."""


@dataclass(frozen=True, slots=True)
class Balance(Generic[G, K]):
    """The optimum.

    Attributes:
        makespan: T in seconds.
        times: Worker-seconds by group and kind, where above 0.
        prices: By kind: how much T grows with one more image of it.
    """

    makespan: float
    times: Mapping[tuple[G, K], float]
    prices: Mapping[K, float]


def balance(
    counts: Mapping[G, float], demands: Mapping[K, float], seconds: Mapping[tuple[G, K], float]
) -> Balance[G, K]:
    """Spreads work over groups of machines so that all of it is done as early as can be.

    Args:
        counts: Workers in each group, above 0.
        demands: Images of each kind, above 0.
        seconds: Seconds an image of a kind takes on a worker of a group, above 0; a pair that is missing cannot be.
            Every kind must have one.
    """
    if len(demands) == 1:
        return _one_kind(counts, demands, seconds)
    if len({group for group, _ in seconds}) == 1:
        return _one_group(counts, demands, seconds)
    return _solve(counts, demands, seconds)


def _one_kind(
    counts: Mapping[G, float], demands: Mapping[K, float], seconds: Mapping[tuple[G, K], float]
) -> Balance[G, K]:
    ((kind, demand),) = demands.items()
    makespan = demand / sum(counts[group] / cost for (group, _), cost in seconds.items())
    times = {(group, kind): counts[group] * makespan for group, _ in seconds}
    return Balance(makespan, times, {kind: makespan / demand})


def _one_group(
    counts: Mapping[G, float], demands: Mapping[K, float], seconds: Mapping[tuple[G, K], float]
) -> Balance[G, K]:
    group = next(group for group, _ in seconds)
    times = {(group, kind): demand * seconds[group, kind] for kind, demand in demands.items()}
    prices = {kind: seconds[group, kind] / counts[group] for kind in demands}
    return Balance(sum(times.values()) / counts[group], times, prices)


def _solve(
    counts: Mapping[G, float], demands: Mapping[K, float], seconds: Mapping[tuple[G, K], float]
) -> Balance[G, K]:
    pairs = list(seconds)
    groups = {group: row for row, group in enumerate(dict.fromkeys(group for group, _ in pairs))}
    kinds = {kind: len(groups) + row for row, kind in enumerate(demands)}
    # T is the last column. Demands are scaled to 1, so that tolerances mean the same for ten images and a million.
    scale = sum(demands.values())
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(pairs) + 1, len(groups) + len(kinds)
    lp.col_cost_ = np.append(np.zeros(len(pairs)), 1.0)
    lp.col_lower_ = np.zeros(len(pairs) + 1)
    lp.col_upper_ = np.full(len(pairs) + 1, highspy.kHighsInf)
    wanted = np.array([demand / scale for demand in demands.values()])
    lp.row_lower_ = np.concatenate((np.full(len(groups), -highspy.kHighsInf), wanted))
    lp.row_upper_ = np.concatenate((np.zeros(len(groups)), wanted))
    rows = np.array([(groups[group], kinds[kind]) for group, kind in pairs], dtype=np.int32).ravel()
    values = np.array([(1.0, 1.0 / seconds[pair]) for pair in pairs]).ravel()
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.append(np.arange(0, 2 * len(pairs) + 1, 2), 2 * len(pairs) + len(groups)).astype(np.int32)
    lp.a_matrix_.index_ = np.concatenate((rows, np.arange(len(groups), dtype=np.int32)))
    lp.a_matrix_.value_ = np.concatenate((values, [-counts[group] for group in groups]))
    solver: Any = highspy.Highs()  # type: ignore[no-untyped-call]  # its stubs leave the constructor bare
    for option, value in (("output_flag", False), ("threads", 1), ("solver", "simplex")):
        solver.setOptionValue(option, value)
    solver.passModel(lp)
    solver.run()
    solution = solver.getSolution()
    makespan = solution.col_value[-1]
    found = zip(pairs, solution.col_value, strict=False)
    times = {pair: time * scale for pair, time in found if time > NEGLIGIBLE * makespan}
    prices = dict(zip(demands, solution.row_dual[len(groups) :], strict=True))
    return Balance(makespan * scale, times, prices)
