"""How properties are run against many cases: a few hundred in the normal suite, many thousands in the slow one."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

RUN = 5_000
"""Cases of one run of hypothesis, whose memory grows with each."""


def cases(quick: int, slow: int) -> pytest.MarkDecorator:
    """Has a test called with a `count` of cases, once for either suite."""
    return pytest.mark.parametrize("count", [quick, pytest.param(slow, marks=pytest.mark.slow)])


def fuzz(count: int, property_: Callable[[], Any]) -> None:
    """Tries a property that `given` made on so many cases."""
    for tried in range(0, count, RUN):
        few = settings(max_examples=min(RUN, count - tried), deadline=None, suppress_health_check=list(HealthCheck))
        few(property_)()
