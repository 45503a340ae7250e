"""How far off forecasts were, and what follows for the next one.

A forecast is one number; the interval around it comes from how earlier ones fared: ratios of the time that jobs really
took to the time that was foretold (split conformal prediction, Vovk et al. 2005, over a window that moves). So it
covers what it claims whatever goes wrong on a farm, as long as it goes wrong as often as lately.
"""

from collections import deque
from dataclasses import dataclass, field

WINDOW = 200
"""Forecasts that are remembered: those of about a hundred jobs."""

CHECKPOINTS = (0.0, 0.5)
"""Parts of a job after which its end is foretold to learn from."""

EXPERIENCE = (0.5, 0.7, 0.8, 0.9, 1.0, 1.0, 1.1, 1.3, 1.6, 2.2)
"""Ratios to begin with, before a job has ended. They fall out of the window like any other."""

LOW, LIKELY, HIGH = 0.1, 0.5, 0.9
"""Quantiles of an 80 % interval and its middle."""


@dataclass(frozen=True, slots=True)
class Eta:
    """When a job is expected to end, in seconds since the epoch: an 80 % interval and its median."""

    earliest: float
    likely: float
    latest: float


@dataclass(slots=True)
class Forecasts:
    """What came of forecasts.

    Attributes:
        ratios: Real time over foretold time, newest last.
        count: How many were learned from since the coordinator started.
    """

    ratios: deque[float] = field(default_factory=lambda: deque(EXPERIENCE, maxlen=WINDOW))
    count: int = field(default=0, compare=False)

    def learn(self, made: float, foretold: float, ended: float) -> None:
        """Takes in that what was foretold at `made` for `foretold` came at `ended`."""
        self.ratios.append((ended - made) / max(foretold - made, 1e-3))
        self.count += 1

    def newest(self, count: int) -> list[float]:
        """The newest ratios, so many of them at most."""
        return list(self.ratios)[len(self.ratios) - min(count, len(self.ratios)) :]

    def interval(self, now: float, seconds: float) -> Eta:
        """The interval for something that is foretold to come in so many seconds."""
        ordered = sorted(self.ratios)
        low, likely, high = (now + seconds * _quantile(ordered, level) for level in (LOW, LIKELY, HIGH))
        return Eta(low, likely, high)


def _quantile(ordered: list[float], level: float) -> float:
    """Interpolated so that of n values each next one falls in each of the n + 1 gaps equally often."""
    position = min(max(level * (len(ordered) + 1) - 1, 0.0), len(ordered) - 1.0)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])
