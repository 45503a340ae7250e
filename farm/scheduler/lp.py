"""The fluid relaxation of scheduling unrelated machines: a small linear program, solved by HiGHS.

Work is taken as divisible: minimise T over times x[g, k] >= 0 that group g spends on kind k, such that every group has
the time (sum over k of x[g, k] <= count[g] * T) and every kind gets done (sum over g of x[g, k] / seconds[g, k] =
demand[k]). T is a lower bound of any makespan (Lawler and Labetoulle 1978). One thread of the simplex method: the same
numbers give the same answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
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
        times: Worker-seconds by group and kind, where above 0. Every kind has some: one that is so small a part of all
            that the solver takes it for rounding is given to its quickest group.
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
    is_plain = len(demands) == 1 or len({group for group, _ in seconds}) == 1
    solved = None if is_plain else _solve(counts, demands, seconds)
    return solved or _in_turn(counts, demands, seconds)


def _in_turn(
    counts: Mapping[G, float], demands: Mapping[K, float], seconds: Mapping[tuple[G, K], float]
) -> Balance[G, K]:
    """All who can do one kind after the other: the optimum of a single kind or group, and always possible."""
    rates = dict.fromkeys(demands, 0.0)
    for (group, kind), cost in seconds.items():
        rates[kind] += counts[group] / cost
    spans = {kind: demand / rates[kind] for kind, demand in demands.items()}
    times = {(group, kind): counts[group] * spans[kind] for group, kind in seconds}
    return Balance(sum(spans.values()), times, {kind: spans[kind] / demand for kind, demand in demands.items()})


def _solve(
    counts: Mapping[G, float], demands: Mapping[K, float], seconds: Mapping[tuple[G, K], float]
) -> Balance[G, K] | None:
    """The optimum; None if the solver finds none, as with numbers too far apart for it."""
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
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    solution = solver.getSolution()
    makespan = solution.col_value[-1]
    found = zip(pairs, solution.col_value, strict=False)
    times = {pair: time * scale for pair, time in found if time > NEGLIGIBLE * makespan}
    served = {kind for _, kind in times}
    for kind in [kind for kind in demands if kind not in served]:
        cost, quickest = min(((seconds[pair], pair) for pair in pairs if pair[1] == kind), key=itemgetter(0))
        times[quickest] = demands[kind] * cost
    prices = dict(zip(demands, solution.row_dual[len(groups) :], strict=True))
    return Balance(makespan * scale, times, prices)
