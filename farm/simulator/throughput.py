"""Draws how many images an hour each class of chip rendered over time."""

import math
from itertools import pairwise

from farm.domain import ChipClass
from farm.simulator.records import BIN_SECONDS
from farm.simulator.simulation import Simulation
from farm.simulator.svg import TimeAxis, box, clock, legend, line, round_step, text

HEIGHT = 220
MAX_COLUMNS = 200

COLUMN_IMAGES = 20
"""What a column stands for at least, in the mean: were it fewer, one image more or less would be a tall step."""

COLOURS = {ChipClass.ANE: "#44aa99", ChipClass.GPU: "#ee8866", ChipClass.CPU: "#4477aa"}


def throughput(simulation: Simulation, axis: TimeAxis, top: float) -> tuple[list[str], float]:
    """Columns from `top` on, stacked by class, with a legend and axes; and where they end."""
    edges = _edges(axis.stop, simulation.records.image_count)
    present = {mac.facts.chip_class for mac in simulation.macs}
    rates = {one: _rates(simulation, one, edges) for one in COLOURS if one in present}
    peak = max(map(sum, zip(*rates.values(), strict=True))) or 1.0
    entries, begin = legend(((COLOURS[one], one.value) for one in rates), axis.left, top + 12, axis.right)
    begin += 4
    end = begin + HEIGHT
    drawn = [text(axis.left, top, "Images an hour by class of chip", size=14), *entries, *axis.draw(begin, end)]
    step = round_step(peak, 5)
    for number in range(int(peak / step) + 1):
        y = end - HEIGHT * number * step / peak
        drawn += [line(axis.left, y, axis.right, y), text(axis.left - 8, y + 4, f"{number * step:,g}", anchor="end")]
    for column, (start, stop) in enumerate(pairwise(edges)):
        y, x, right = end, axis.x(start), axis.x(stop)
        for one, rate in rates.items():
            height = HEIGHT * rate[column] / peak
            y -= height
            if height:
                title = f"{one.value}: {rate[column]:,.0f} an hour, {clock(start)} to {clock(stop)}"
                drawn.append(box(x, y, right - x, height, COLOURS[one], title))
    return drawn, end + 30


def _edges(end: float, images: int) -> list[float]:
    """Where columns begin and end: whole bins, but for the end of the last one, which is the end of the run."""
    bins = end / BIN_SECONDS
    columns = min(MAX_COLUMNS, max(1, images // COLUMN_IMAGES), math.ceil(bins))
    width = math.ceil(bins / columns)
    return [number * width * BIN_SECONDS for number in range(max(1, round(bins / width)))] + [end]


def _rates(simulation: Simulation, chip_class: ChipClass, edges: list[float]) -> list[float]:
    """Images an hour in each column."""
    counts = [0] * (len(edges) - 1)
    width = edges[1] - edges[0]
    for (found, position), images in simulation.records.bins.items():
        if found is chip_class:
            counts[min(int(position * BIN_SECONDS / width), len(counts) - 1)] += images
    return [count * 3600 / (stop - start) for count, (start, stop) in zip(counts, pairwise(edges), strict=True)]
