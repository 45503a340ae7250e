"""Draws a run as SVG: who rendered what when, and how much over time."""

from farm.simulator.gantt import gantt
from farm.simulator.simulation import Simulation
from farm.simulator.svg import TimeAxis
from farm.simulator.throughput import throughput

WIDTH, LEFT, RIGHT = 1200, 120, 1170


def draw(simulation: Simulation) -> str:
    """The drawing of a run whose spans were kept."""
    axis = TimeAxis(LEFT, RIGHT, max(simulation.records.last_commit, 1.0))
    rows, end_of_rows = gantt(simulation, axis, 24)
    columns, height = throughput(simulation, axis, end_of_rows + 30)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" font-family="sans-serif">',
            f'<rect width="{WIDTH}" height="{height:.0f}" fill="white"/>',
            *rows,
            *columns,
            "</svg>",
        )
    )
