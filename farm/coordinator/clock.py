"""The coordinator's clock: wall time that advances evenly, and says so when it could not."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

TOLERANCE_SECONDS = 1.0
"""A difference between the two clocks up to this is drift, which is let be; beyond it somebody set the clock or the
machine slept (macOS' monotonic clock stands still meanwhile)."""


@dataclass(slots=True)
class Clock:
    """Seconds since the Unix epoch, advanced by the monotonic clock and set anew when the wall clock steps.

    Leases are judged by differences of these times. Were they wall time, a step of the clock would end every lease, or
    none for an hour.

    Attributes:
        wall: Reads the wall clock.
        monotonic: Reads the monotonic clock.
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    _offset: float = field(init=False)

    def __post_init__(self) -> None:
        self._offset = self.wall() - self.monotonic()

    def now(self) -> float:
        """Seconds since the epoch. Never falls between two calls of `has_jumped`."""
        return self.monotonic() + self._offset

    def has_jumped(self) -> bool:
        """Follows the wall clock if it stepped since the last call, and says whether it did."""
        offset = self.wall() - self.monotonic()
        if abs(offset - self._offset) <= TOLERANCE_SECONDS:
            return False
        self._offset = offset
        return True
