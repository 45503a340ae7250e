"""How far off forecasts were, and what follows for the next one.

A forecast is one number; the interval around it comes from how earlier ones fared: ratios of the time that jobs really
took to the time that was foretold (split conformal prediction, Vovk et al. 2005, over a window that moves). So it
covers what it claims whatever goes wrong on a farm, as long as it goes wrong as often as lately. What is foretold of a
new job errs otherwise than what is foretold of one that is half done, so each is learned from its like.
"""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field

WINDOW = 100
"""Jobs whose forecasts are remembered."""

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
        ratios: Real time over foretold time by checkpoint, newest last.
        newest: The newest of all, since the coordinator started.
        count: How many were learned from since then.
    """

    ratios: tuple[deque[float], ...] = field(
        default_factory=lambda: tuple(deque(EXPERIENCE, maxlen=WINDOW) for _ in CHECKPOINTS)
    )
    newest: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW), compare=False)
    count: int = field(default=0, compare=False)

    def learn(self, checkpoint: int, made: float, foretold: float, ended: float) -> None:
        """Takes in that what was foretold at `made`, after a checkpoint, for `foretold` came at `ended`."""
        ratio = (ended - made) / max(foretold - made, 1e-3)
        self.ratios[checkpoint].append(ratio)
        self.newest.append(ratio)
        self.count += 1

    def interval(self, now: float, seconds: float, settled_part: float = 0.0) -> Eta:
        """The interval for the end of a job, so much of which is done, that is foretold to come in so many seconds."""
        ordered = sorted(self.ratios[checkpoint(settled_part)])
        low, likely, high = (now + seconds * _quantile(ordered, level) for level in (LOW, LIKELY, HIGH))
        return Eta(low, likely, high)


def checkpoint(settled_part: float) -> int:
    """Number of the last checkpoint of a job of which so much is done, 0 to 1."""
    return bisect_right(CHECKPOINTS, settled_part) - 1


def _quantile(ordered: list[float], level: float) -> float:
    """Interpolated so that of n values each next one falls in each of the n + 1 gaps equally often."""
    position = min(max(level * (len(ordered) + 1) - 1, 0.0), len(ordered) - 1.0)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])
