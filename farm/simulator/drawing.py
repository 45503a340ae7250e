"""Draws a run as SVG: who rendered what when, and how much each chip rendered over time."""

from collections.abc import Iterable, Iterator
from html import escape

from farm.simulator.records import BIN_SECONDS, Span
from farm.simulator.simulation import Simulation

WIDTH = 1200
LEFT = 150
TOP = 40
ROW = 12
MAX_ROWS = 120
"""Macs that are drawn at most, evenly picked."""

AREA_HEIGHT = 220
BINS = 200
"""Columns of the throughput drawing at most."""

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#332288", "#88ccee", "#999933")
"""Paul Tol's colours, which people with any sight tell apart."""


def draw(simulation: Simulation) -> str:
    """The drawing of a run whose spans were kept."""
    makespan = max(simulation.records.last_commit, 1.0)
    macs = simulation.macs[:: max(1, -(-len(simulation.macs) // MAX_ROWS))]
    rows = {mac.number: position for position, mac in enumerate(macs)}
    gantt_height = len(rows) * ROW
    height = TOP + gantt_height + 80 + AREA_HEIGHT + 60
    names = [f"{mac.facts.chip.removeprefix('Apple ')} #{mac.number}" for mac in macs]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif">',
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            _text(LEFT, 20, "Images by Mac and time; colours are jobs", size=14),
            *(_text(LEFT - 8, TOP + row * ROW + 9, name, anchor="end") for row, name in enumerate(names)),
            *_bars(simulation.records.spans, rows, makespan),
            *_axis(TOP + gantt_height, makespan),
            *_throughput(simulation, TOP + gantt_height + 80, makespan),
            "</svg>",
        )
    )


def _x(time: float, makespan: float) -> float:
    return LEFT + (WIDTH - LEFT - 20) * time / makespan


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 11) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float, colour: str, title: str) -> str:
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{max(width, 0.2):.2f}" height="{height:.2f}" fill="{colour}">'
        f"<title>{escape(title)}</title></rect>"
    )


def _bars(spans: Iterable[Span], rows: dict[int, int], makespan: float) -> Iterator[str]:
    """A bar for each run of images of one job without a pause: a million images are fewer bars."""
    jobs: dict[str, str] = {}
    running: dict[int, tuple[Span, float]] = {}
    for span in spans:
        if span.mac not in rows:
            continue
        jobs.setdefault(span.job_id, COLOURS[len(jobs) % len(COLOURS)])
        first, stop = running.get(span.mac, (span, span.start))
        if first.job_id == span.job_id and span.start - stop < 1e-6:
            running[span.mac] = first, span.stop
        else:
            yield _bar(first, stop, rows, makespan, jobs)
            running[span.mac] = span, span.stop
    for first, stop in running.values():
        yield _bar(first, stop, rows, makespan, jobs)


def _bar(first: Span, stop: float, rows: dict[int, int], makespan: float, jobs: dict[str, str]) -> str:
    x = _x(first.start, makespan)
    title = f"{first.job_id}, {first.start:.0f} s to {stop:.0f} s"
    return _box(x, TOP + rows[first.mac] * ROW + 1, _x(stop, makespan) - x, ROW - 2, jobs[first.job_id], title)


def _axis(y: float, makespan: float) -> Iterator[str]:
    yield f'<line x1="{LEFT}" y1="{y + 4}" x2="{WIDTH - 20}" y2="{y + 4}" stroke="black"/>'
    for part in range(6):
        time = makespan * part / 5
        yield _text(_x(time, makespan), y + 20, f"{time / 60:.1f} min", anchor="middle")


def _throughput(simulation: Simulation, top: float, makespan: float) -> Iterator[str]:
    """Images an hour, stacked by chip."""
    bins = simulation.records.bins
    merged = max(1, -(-int(makespan / BIN_SECONDS + 1) // BINS))
    columns = int(makespan / BIN_SECONDS) // merged + 1
    chips = list(dict.fromkeys(mac.facts.chip for mac in simulation.macs))
    counts = {chip: [0] * columns for chip in chips}
    for (chip, position), images in bins.items():
        counts[chip][min(position // merged, columns - 1)] += images
    peak = max(sum(counts[chip][column] for chip in chips) for column in range(columns)) or 1
    width = merged * BIN_SECONDS
    yield _text(LEFT, top - 10, "Images an hour by chip", size=14)
    yield _text(LEFT - 8, top + 10, f"{peak * 3600 / width:,.0f}", anchor="end")
    yield _text(LEFT - 8, top + AREA_HEIGHT, "0", anchor="end")
    for column in range(columns):
        y, x = top + AREA_HEIGHT, _x(column * width, makespan)
        right = _x(min((column + 1) * width, makespan), makespan)
        for number, chip in enumerate(chips):
            tall = AREA_HEIGHT * counts[chip][column] / peak
            y -= tall
            if tall:
                yield _box(x, y, right - x, tall, COLOURS[number % len(COLOURS)], chip)
    yield from _axis(top + AREA_HEIGHT, makespan)
    for number, chip in enumerate(chips):
        x = LEFT + number * 105
        yield _box(x, top + AREA_HEIGHT + 32, 10, 10, COLOURS[number % len(COLOURS)], chip)
        yield _text(x + 14, top + AREA_HEIGHT + 41, chip.removeprefix("Apple "))
