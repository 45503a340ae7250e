"""What a dashboard is: rows of panels, each with its queries, its unit, and a sentence on how to read it."""

import enum
from dataclasses import dataclass


class Unit(enum.Enum):
    """Units of values, with Grafana's names."""

    COUNT = "short"
    SHARE = "percentunit"
    SECONDS = "s"
    BYTES = "bytes"
    WATTS = "watt"
    JOULES = "joule"
    PER_HOUR = "suffix: /h"


class Style(enum.Enum):
    """How a panel is drawn."""

    NUMBER = "number"
    LINES = "lines"
    STACK = "stack"


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of Prometheus.

    Attributes:
        expr: PromQL, with Grafana's `$__rate_interval` and the board's variables.
        legend: How a series is called; `{{label}}` stands for a label.
        labels: Labels of the series that come back.
    """

    expr: str
    legend: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """A drawing.

    Attributes:
        title: A few words.
        meaning: How to read it, and what to do if it looks wrong.
        unit: Of its values.
        queries: What it draws.
        style: How.
    """

    title: str
    meaning: str
    unit: Unit
    queries: tuple[Query, ...]
    style: Style = Style.LINES


@dataclass(frozen=True, slots=True)
class Variable:
    """What the viewer chooses: the values of a label of a metric, all of them to begin with."""

    name: str
    metric: str


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard.

    Attributes:
        uid: Names it in links, and its file.
        title: For people.
        meaning: What it is for.
        rows: Titles of rows and their panels.
        variables: What can be chosen.
    """

    uid: str
    title: str
    meaning: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    variables: tuple[Variable, ...] = ()

    def panels(self) -> tuple[Panel, ...]:
        """All panels."""
        return tuple(panel for _, panels in self.rows for panel in panels)


def rate(metric: str, *by: str, where: str = "") -> str:
    """A counter's rate per second, summed over all labels but these."""
    return f"sum by ({', '.join(by)}) (rate({metric}{{{where}}}[$__rate_interval]))"


def hourly(counter: str, *by: str, where: str = "") -> str:
    """A counter's rate per hour."""
    return f"{rate(counter, *by, where=where)} * 3600"


def quantile(level: float, histogram: str, *by: str, where: str = "") -> str:
    """A quantile of what a histogram observed lately."""
    grouped = ", ".join((*by, "le"))
    return f"histogram_quantile({level}, sum by ({grouped}) (rate({histogram}_bucket{{{where}}}[$__rate_interval])))"


def mean(histogram: str, *by: str, where: str = "") -> str:
    """The mean of what a histogram observed lately."""
    return f"{rate(f'{histogram}_sum', *by, where=where)} / {rate(f'{histogram}_count', *by, where=where)}"
