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
"""Paul Tol's, which people with any sight tell apart; none is grey, as time without an image is."""

IDLE, AWAY, SLOW = "idle", "not there", "slowed down"
USES = {"load": "loading", "lost": "rendered for nothing"}
GREYS = {IDLE: "#e9e9e9", USES["load"]: "#8c8c8c", USES["lost"]: "#111111", AWAY: "#ffffff"}
SLOW_COLOUR = "#dd0000"
"""Of a line below what a Mac does meanwhile."""

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
    """What a Mac did for a while: seconds by what it was, images, and whose they are."""

    start: float
    stop: float
    seconds: dict[str, float] = field(default_factory=dict)
    images: int = 0
    jobs: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Key:
    """What colours stand for: `kind` in a word, the name for each job, the colour for each name."""

    kind: str
    names: Mapping[str, str]
    colours: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """A Mac's place in the drawing, from `y` on and `height` pixels high."""

    axis: TimeAxis
    y: float
    height: float
    name: str

    def box(self, start: float, stop: float, colour: str, title: str, height: float | None = None) -> Iterator[str]:
        """What of a time is within the run; at its foot, if it has a height of its own."""
        stop = min(stop, self.axis.stop)
        if start < stop:
            x, tall = self.axis.x(start), height or self.height - 2
            what = f"{self.name}, {clock(start)} to {clock(stop)}: {title}"
            yield box(x, self.y + self.height - 1 - tall, self.axis.x(stop) - x, tall, colour, what)


def gantt(simulation: Simulation, axis: TimeAxis, top: float) -> tuple[list[str], float]:
    """The rows from `top` on, with a legend and an axis; and where they end."""
    macs = _some_of_each(simulation.macs)
    key = _key(simulation.arrivals)
    part = f"; {len(macs):,} of {len(simulation.macs):,} Macs" if len(macs) < len(simulation.macs) else ""
    drawn = [text(axis.left, top, f"Who rendered what when; colours are {key.kind}{part}", size=14)]
    top += 12
    for colours in (key.colours, {**GREYS, SLOW: SLOW_COLOUR}):
        entries, top = legend(colours, axis.left, top, axis.right)
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
            drawn += row.box(start, stop, GREYS[IDLE], IDLE)
        for bar in _bars(spans.get(mac.number, ()), key.names, axis.seconds(GRAIN)):
            drawn += row.box(bar.start, bar.stop, *_look(bar, key))
        for start, stop in slow[mac.number]:
            drawn += row.box(start, stop, SLOW_COLOUR, SLOW, height=2)
    return drawn, end + 30


def _some_of_each(macs: Sequence[Mac]) -> list[Mac]:
    """At most MAX_ROWS Macs, or one of each sort more, evenly picked among those of a sort."""
    sorts: dict[tuple[str, int], list[Mac]] = {}
    for mac in macs:
        sorts.setdefault((mac.facts.chip, mac.facts.gpu_cores), []).append(mac)
    every = -(-len(macs) // MAX_ROWS)
    return sorted((mac for alike in sorts.values() for mac in alike[::every]), key=attrgetter("number"))


def _key(jobs: Sequence[JobOpened]) -> Key:
    """Colours for jobs or, where these are more than colours, for what tells most of them apart."""
    kinds = {kind: {opened.job_id: name_of(opened)[:MAX_NAME] for opened in jobs} for kind, name_of in _KEYS.items()}
    few = {kind: names for kind, names in kinds.items() if len(set(names.values())) <= len(COLOURS)}
    kind = max(few, key=lambda kind: len(set(few[kind].values())))
    colours = dict(zip(dict.fromkeys(few[kind].values()), COLOURS, strict=False))
    return Key(kind, few[kind], colours)


def _by_mac(spans: Iterable[Span]) -> dict[int, list[Span]]:
    found: dict[int, list[Span]] = {}
    for span in sorted(spans, key=attrgetter("start")):
        found.setdefault(span.mac, []).append(span)
    return found


def _bars(spans: Iterable[Span], names: Mapping[str, str], grain: float) -> Iterator[Bar]:
    """A bar for whatever was of one name without a pause; what takes less than `grain` seconds goes with the next."""
    bar, last = None, ""
    for span in spans:
        name = USES.get(span.use) or names[span.job_id]
        if bar is None or span.start - bar.stop > grain or (name != last and bar.stop - bar.start > grain):
            if bar is not None:
                yield bar
            bar = Bar(span.start, span.stop)
        bar.stop, last = span.stop, name
        bar.seconds[name] = bar.seconds.get(name, 0.0) + span.stop - span.start
        bar.images += span.use == "image"
        bar.jobs.add(span.job_id)
    if bar is not None:
        yield bar


def _look(bar: Bar, key: Key) -> tuple[str, str]:
    """Its colour, by what took most of its time, and its title."""
    name = max(bar.seconds, key=lambda name: bar.seconds[name])
    colour = GREYS[name] if name in USES.values() else key.colours[name]
    jobs = ", ".join(sorted(bar.jobs)[:3]) + (f" and {len(bar.jobs) - 3} more" if len(bar.jobs) > 3 else "")
    return colour, f"{name}; {bar.images} images, {jobs}"
