"""How benchmarks tell their figures: one JSON object a line."""

import json


def report(
    benchmark: str,
    figure: str,
    value: float,
    unit: str,
    goal: float | None,
    *,
    compared_with: str,
    repeats: int = 1,
    spread: float | None = None,
    smaller_is_better: bool = True,
) -> None:
    """Prints one measured figure.

    Args:
        benchmark: Name of the benchmark's module.
        figure: What was measured.
        value: The median of the repeats.
        unit: Unit of `value`.
        goal: What `value` should reach; None where there is no goal.
        compared_with: What the figure stands beside, measured in the same run.
        repeats: How often it was measured.
        spread: Distance of the largest from the smallest repeat, in `unit`.
        smaller_is_better: Whether the goal is an upper bound rather than a lower one.
    """
    holds = None if goal is None else (value <= goal if smaller_is_better else value >= goal)
    line = {
        "benchmark": benchmark,
        "figure": figure,
        "value": value,
        "unit": unit,
        "goal": goal,
        "holds": holds,
        "compared_with": compared_with,
        "repeats": repeats,
    }
    print(json.dumps(line if spread is None else line | {"spread": spread}), flush=True)
