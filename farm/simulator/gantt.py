"""Draws who rendered what when, and where time was lost: a row for each Mac."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from farm.scheduler.events import JobOpened
from farm.simulator.faults import slow_times, stays
from farm.simulator.mac import Mac
from farm.simulator.records import Span
from farm.simulator.simulation import Simulation
from farm.simulator.svg import TimeAxis, box, clock, legend, text

MAX_ROWS = 120
"""Macs that are drawn: at most so many, but at least one of each sort."""

HEIGHT, MIN_ROW, MAX_ROW = 120, 12, 30
"""Pixels of all rows together, if each is within its bounds then."""

GRAIN = 1.0
"""Pixels; what is narrower is drawn as one with what is beside it: a million images are fewer bars."""

COLOURS = (
    *("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377"),
    *("#ee8866", "#332288", "#44aa99", "#999933", "#882255", "#ffaabb"),
)
"""From Paul Tol's schemes, which are made for all eyes; none is grey, as time without an image is."""

Look = tuple[str, str]
"""A colour, and what it stands for."""

IDLE: Look = ("#e9e9e9", "idle")
LOADING: Look = ("#8c8c8c", "loading")
LOST: Look = ("#111111", "rendered for nothing")
AWAY: Look = ("#ffffff", "not there")
SLOW: Look = ("#dd0000", "slowed down")
"""Of a line below what a Mac does meanwhile."""

USES: Mapping[str, Look] = {"load": LOADING, "lost": LOST}

MAX_NAME = 40
"""Letters of a name in the legend."""

_KEYS: Mapping[str, Callable[[JobOpened], str]] = {
    "jobs": lambda opened: f"{opened.job_id} {opened.spec.model}",
    "submitters": lambda opened: opened.submitter,
    "models": lambda opened: opened.spec.model,
}
"""What colours can stand for."""


@dataclass(slots=True)
class Bar:
    """What a Mac did for a while: seconds by how that looks, images, and whose they are."""

    start: float
    stop: float
    seconds: dict[Look, float] = field(default_factory=dict)
    images: int = 0
    jobs: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Row:
    """A Mac's place in the drawing, from `y` on and `height` pixels high."""

    axis: TimeAxis
    y: float
    height: float
    name: str

    def box(self, start: float, stop: float, look: Look, more: str = "", height: float | None = None) -> Iterator[str]:
        """What of a time is within the run; at its foot, if it has a height of its own."""
        stop = min(stop, self.axis.stop)
        if start < stop:
            x, tall = self.axis.x(start), height or self.height - 2
            title = f"{self.name}, {clock(start)} to {clock(stop)}: {look[1]}{more}"
            yield box(x, self.y + self.height - 1 - tall, self.axis.x(stop) - x, tall, look[0], title)


def gantt(simulation: Simulation, axis: TimeAxis, top: float) -> tuple[list[str], float]:
    """The rows from `top` on, with a legend and an axis; and where they end."""
    macs = _some_of_each(simulation.macs)
    kind, looks = _looks(simulation.arrivals)
    part = f"; {len(macs):,} of {len(simulation.macs):,} Macs" if len(macs) < len(simulation.macs) else ""
    drawn = [text(axis.left, top, f"Who rendered what when; colours are {kind}{part}", size=14)]
    top += 12
    for entry in (dict.fromkeys(looks.values()), (IDLE, LOADING, LOST, AWAY, SLOW)):
        entries, top = legend(entry, axis.left, top, axis.right)
        drawn += entries
    height = min(MAX_ROW, max(MIN_ROW, HEIGHT // len(macs)))
    end = top + height * len(macs)
    drawn += axis.draw(top, end)
    there, slow = (periods(simulation.upsets, len(simulation.macs)) for periods in (stays, slow_times))
    spans = _by_mac((*simulation.records.spans, *simulation.records.overhead))
    for position, mac in enumerate(macs):
        row = Row(axis, top + position * height, height, f"{mac.facts.chip.removeprefix('Apple ')} #{mac.number}")
        drawn.append(text(axis.left - 8, row.y + height / 2 + 4, row.name, anchor="end"))
        for start, stop in there[mac.number]:
            drawn += row.box(start, stop, IDLE)
        for bar in _bars(spans.get(mac.number, ()), looks, axis.seconds(GRAIN)):
            drawn += row.box(bar.start, bar.stop, max(bar.seconds, key=bar.seconds.__getitem__), _whose(bar))
        for start, stop in slow[mac.number]:
            drawn += row.box(start, stop, SLOW, height=2)
    return drawn, end + 30


def _some_of_each(macs: Sequence[Mac]) -> list[Mac]:
    """At most MAX_ROWS Macs, or one of each sort more, evenly picked among those of a sort."""
    sorts: dict[tuple[str, int], list[Mac]] = {}
    for mac in macs:
        sorts.setdefault((mac.facts.chip, mac.facts.gpu_cores), []).append(mac)
    every = -(-len(macs) // MAX_ROWS)
    return sorted((mac for alike in sorts.values() for mac in alike[::every]), key=attrgetter("number"))


def _looks(jobs: Sequence[JobOpened]) -> tuple[str, Mapping[str, Look]]:
    """What colours stand for, and how each job looks: itself or, of many jobs, what tells most of them apart."""
    kinds = {kind: {opened.job_id: name_of(opened)[:MAX_NAME] for opened in jobs} for kind, name_of in _KEYS.items()}
    few = {kind: names for kind, names in kinds.items() if len(set(names.values())) <= len(COLOURS)}
    kind, names = max(few.items(), key=lambda item: len(set(item[1].values())))
    colours = dict(zip(dict.fromkeys(names.values()), COLOURS, strict=False))
    return kind, {job_id: (colours[name], name) for job_id, name in names.items()}


def _by_mac(spans: Iterable[Span]) -> dict[int, list[Span]]:
    found: dict[int, list[Span]] = {}
    for span in sorted(spans, key=attrgetter("start")):
        found.setdefault(span.mac, []).append(span)
    return found


def _bars(spans: Iterable[Span], looks: Mapping[str, Look], grain: float) -> Iterator[Bar]:
    """A bar for whatever looks alike, without a pause; what takes less than `grain` seconds goes with the next."""
    bar, last = None, None
    for span in spans:
        look = USES.get(span.use) or looks[span.job_id]
        if bar is None or span.start - bar.stop > grain or (look != last and bar.stop - bar.start > grain):
            if bar is not None:
                yield bar
            bar = Bar(span.start, span.stop)
        bar.stop, last = span.stop, look
        bar.seconds[look] = bar.seconds.get(look, 0.0) + span.stop - span.start
        bar.images += span.use == "image"
        bar.jobs.add(span.job_id)
    if bar is not None:
        yield bar


def _whose(bar: Bar) -> str:
    more = f" and {len(bar.jobs) - 3} more" if len(bar.jobs) > 3 else ""
    return f"; {bar.images} images, {', '.join(sorted(bar.jobs)[:3])}{more}"
