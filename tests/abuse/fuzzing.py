"""How properties are run against many cases: a few hundred in the normal suite, many thousands in the slow one."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

RUN = 5_000
"""Cases of one run of hypothesis, whose memory grows with each."""


def cases(quick: int, slow: int) -> pytest.MarkDecorator:
    """Has a test called with a `count` of cases, once for either suite."""
    return pytest.mark.parametrize("count", [quick, pytest.param(slow, marks=pytest.mark.slow)])


def fuzz(count: int, holds: Callable[..., None], *drawn: st.SearchStrategy[Any]) -> None:
    """Calls `holds`, which must not raise, with what is drawn for its parameters, so many times."""
    for tried in range(0, count, RUN):
        few = settings(max_examples=min(RUN, count - tried), suppress_health_check=list(HealthCheck))
        few(given(*drawn)(holds))()
