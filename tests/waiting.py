"""How tests wait for what must come: with a deadline far beyond what it takes, since the machine may be busy."""

import time
from collections.abc import Callable

PATIENCE = 90.0
"""Seconds. Only a test that fails waits so long."""


def eventually(holds: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Whether `holds` becomes true within a time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def until(condition: Callable[[], object], otherwise: str) -> None:
    """Waits until a condition holds; fails with `otherwise` if it never does."""
    assert eventually(condition), otherwise
