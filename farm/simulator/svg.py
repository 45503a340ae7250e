"""The few shapes that drawings are made of, as SVG, and where round figures are on an axis."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from unicodedata import east_asian_width

GRID = "#d8d8d8"

LETTER = 6.3
"""Width of a letter of a legend in pixels, about."""

LEGEND_LINE = 18
"""Pixels from one line of a legend to the next."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400

TIME_STEPS = (
    *(1, 2, 5, 10, 20, 30),
    *(step * _MINUTE for step in (1, 2, 5, 10, 20, 30)),
    *(step * _HOUR for step in (1, 2, 3, 6, 12)),
    *(step * _DAY for step in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
)
"""Seconds between two ticks of a time axis."""

_UNITS = {"d": _DAY, "h": _HOUR, "min": _MINUTE, "s": 1}


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """Where times are: 0 at `left`, `stop` seconds at `right`, both in pixels."""

    left: float
    right: float
    stop: float

    def x(self, time: float) -> float:
        """Where a time is."""
        return self.left + (self.right - self.left) * time / self.stop

    def seconds(self, pixels: float) -> float:
        """How long something is that is so wide."""
        return pixels * self.stop / (self.right - self.left)

    def draw(self, top: float, bottom: float) -> Iterator[str]:
        """A line for each of at most a dozen round times, from `top` to `bottom`, with its name below."""
        step = next((step for step in TIME_STEPS if self.stop / step <= 12), TIME_STEPS[-1])
        unit = next(unit for unit, seconds in _UNITS.items() if step * 2 >= seconds)
        for number in range(int(self.stop / step) + 1):
            x = self.x(number * step)
            yield line(x, top, x, bottom)
            yield text(x, bottom + 16, f"{number * step / _UNITS[unit]:g} {unit}", anchor="middle")


def round_step(stop: float, parts: int) -> float:
    """The least of 1, 2 and 5 times a power of ten of which at most `parts` make `stop`."""
    power = 10.0 ** math.floor(math.log10(stop / parts))
    return next(factor * power for factor in (1, 2, 5, 10) if stop / (factor * power) <= parts)


def clock(seconds: float) -> str:
    """A time as hours, minutes and seconds, such as 0:12:03."""
    return str(timedelta(seconds=round(seconds)))


def text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 11) -> str:
    """Words that begin, end or have their middle at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{_escaped(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float) -> str:
    """A thin line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{GRID}"/>'


def box(x: float, y: float, width: float, height: float, colour: str, title: str) -> str:
    """A box that says what it is where a mouse rests on it."""
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{max(width, 0.3):.2f}" height="{height:.2f}" fill="{colour}">'
        f"<title>{_escaped(title)}</title></rect>"
    )


def legend(entries: Iterable[tuple[str, str]], left: float, top: float, right: float) -> tuple[list[str], float]:
    """Colours with their names, in as many lines as they take; and where the last of them ends."""
    drawn, x, y = [], left, top
    for colour, name in entries:
        width = 30 + LETTER * sum(2 if east_asian_width(letter) in "WF" else 1 for letter in name)
        if x > left and x + width > right:
            x, y = left, y + LEGEND_LINE
        drawn.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="10" height="10" fill="{colour}" stroke="{GRID}"/>')
        drawn.append(text(x + 14, y + 9, name))
        x += width
    return drawn, y + LEGEND_LINE


def _escaped(words: str) -> str:
    """Words as XML takes them, which has no way to write control characters."""
    return escape("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words))
