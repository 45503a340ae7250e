import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from farm.simulator.drawing import RIGHT, draw
from farm.simulator.gantt import AWAY, COLOURS, IDLE, LOADING, LOST, SLOW
from farm.simulator.scenario import NO_FAULTS, Fault, Faults, Fleet, Jobs, Macs, Workload, parse
from farm.simulator.simulation import Simulation
from farm.simulator.svg import LEGEND_LINE, LETTER, TimeAxis, legend, round_step
from farm.simulator.throughput import COLOURS as CLASS_COLOURS
from farm.simulator.throughput import HEIGHT

SVG = "{http://www.w3.org/2000/svg}"
DESK = Fleet((Macs("Apple M1", 8), Macs("Apple M2 Pro", 16), Macs("Apple M1 Max", 32)))
EXAMPLES = Path(__file__).parents[2] / "examples" / "fleets"


@dataclass(frozen=True, slots=True)
class Box:
    """A box with a title, in pixels."""

    x: float
    width: float
    height: float
    colour: str
    title: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """What can be seen."""

    boxes: list[Box]
    texts: list[str]
    swatches: list[str]
    ends: list[float]

    def of(self, row: str) -> Iterator[Box]:
        """The boxes of a Mac's row."""
        return (one for one in self.boxes if one.title.startswith(f"{row},"))


def drawn(workload: Workload, fleet: Fleet = DESK, faults: Faults = NO_FAULTS) -> Drawing:
    simulation = Simulation(fleet, workload, faults, keep_spans=True)
    simulation.run()
    root = ET.fromstring(draw(simulation))
    rects = [rect for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    boxes = [
        Box(
            float(rect.attrib["x"]),
            float(rect.attrib["width"]),
            float(rect.attrib["height"]),
            rect.attrib["fill"],
            rect.findtext(f"{SVG}title") or "",
        )
        for rect in rects
    ]
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    swatches = [rect.attrib["fill"] for rect in root.iter(f"{SVG}rect") if "stroke" in rect.attrib]
    ends = [float(element.attrib["x"]) + LETTER * len(element.text or "") for element in root.iter(f"{SVG}text")]
    return Drawing(boxes, texts, swatches, ends)


def test_every_mac_has_a_row_and_every_job_a_colour_of_its_own() -> None:
    drawing = drawn(Workload((Jobs("sd-1.5", 60), Jobs("sdxl", 20, steps=20))))
    for name in ("M1 #0", "M2 Pro #1", "M1 Max #2", "job-00000 sd-1.5", "job-00001 sdxl"):
        assert name in drawing.texts
    for colour, job in zip(COLOURS, ("job-00000 sd-1.5;", "job-00001 sdxl;"), strict=False):
        assert {box.colour for box in drawing.boxes if job in box.title} == {colour}
    assert drawing.swatches[:2] == [COLOURS[0], COLOURS[1]]


@pytest.mark.parametrize(
    ("jobs", "kind"),
    [
        ((Jobs("sd-1.5", 1, count=12),), "jobs"),
        ((Jobs("sd-1.5", 1, count=13), Jobs("sd-1.5", 1, submitter="other")), "submitters"),
        ((Jobs("sd-1.5", 1, count=13, submitter="{n}"), Jobs("sdxl", 1)), "models"),
    ],
)
def test_colours_are_what_tells_most_apart_with_as_many_as_there_are(jobs: tuple[Jobs, ...], kind: str) -> None:
    assert f"Who rendered what when; colours are {kind}" in drawn(Workload(jobs)).texts


def test_loading_absence_idling_and_lost_images_are_seen_in_greys() -> None:
    faults = Faults((Fault("away", macs=(2,), at=100.0, seconds=100.0), Fault("garbage", macs=(0,), seconds=60.0)))
    drawing = drawn(Workload((Jobs("sd-1.5", 150), Jobs("sd-1.5", 9, at=600.0))), faults=faults)
    for colour, name in (IDLE, LOADING, LOST):
        assert any(box.colour == colour and name in box.title for box in drawing.boxes)
    assert {name for _, name in (IDLE, LOADING, LOST, AWAY, SLOW)} < set(drawing.texts)
    there = [box for box in drawing.of("M1 Max #2") if box.colour == IDLE[0]]
    before, after = sorted(there, key=lambda box: box.x)
    assert before.x + before.width < after.x
    inside = [box for box in drawing.of("M1 Max #2") if before.x + before.width < box.x + box.width / 2 < after.x]
    assert inside == []


def test_when_a_mac_is_slowed_down_is_seen_below_what_it_does() -> None:
    hot = Faults((Fault("slow", macs=(1,), at=50.0, seconds=50.0, factor=3.0),))
    lines = [box for box in drawn(Workload((Jobs("sd-1.5", 150),)), faults=hot).boxes if box.colour == SLOW[0]]
    assert [(box.height, box.title) for box in lines] == [(2.0, "M2 Pro #1, 0:00:50 to 0:01:40: slowed down")]


def test_a_long_run_is_drawn_with_few_bars_that_do_not_overlap() -> None:
    drawing = drawn(Workload((Jobs("sd-1.5", 3000), Jobs("sd-1.5", 3000, submitter="other"))), Fleet(DESK.mac * 2))
    assert len(drawing.boxes) < 6 * 1050
    bars = sorted((box for box in drawing.of("M1 #0") if box.colour != IDLE[0]), key=lambda box: box.x)
    assert all(left.x + left.width <= right.x + 0.31 for left, right in itertools.pairwise(bars))


def test_some_macs_of_each_chip_are_drawn_of_a_campus_and_the_legend_fits() -> None:
    campus = parse((EXAMPLES / "campus.toml").read_text("utf-8"), Fleet, "campus")
    drawing = drawn(Workload((Jobs("sd-1.5", 10, count=13, submitter="a person with a long name {n}"),)), campus)
    rows = [text for text in drawing.texts if " #" in text]
    assert 100 < len(rows) < 140
    assert {text.partition(" #")[0] for text in rows} == {mac.chip.removeprefix("Apple ") for mac in campus.mac}
    assert max(drawing.ends) < RIGHT + 20
    assert any("of 1,000 Macs" in text for text in drawing.texts)


def test_columns_are_stacked_by_class_and_stand_for_every_image() -> None:
    workload = Workload((Jobs("sd-1.5", 300),))
    simulation = Simulation(DESK, workload)
    end = simulation.run().last_commit
    columns = [box for box in drawn(workload).boxes if " an hour, " in box.title]
    assert {box.colour for box in columns} == {CLASS_COLOURS[mac.facts.chip_class] for mac in simulation.macs}
    rate = [float(box.title.partition(": ")[2].partition(" an hour")[0].replace(",", "")) for box in columns]
    hours = [box.width / (RIGHT - min(column.x for column in columns)) * end / 3600 for box in columns]
    assert sum(r * h for r, h in zip(rate, hours, strict=True)) == pytest.approx(300, rel=0.02)
    stacks = [sum(box.height for box in columns if box.x == x) for x in {box.x for box in columns}]
    assert max(stacks) == pytest.approx(HEIGHT, abs=0.1)


@pytest.mark.parametrize("images", [1, 2, 30])
def test_a_short_run_is_drawn_within_the_picture(images: int) -> None:
    fleet = Fleet((Macs("Apple M1 Max", 32), Macs("Apple M3 Ultra", 60)))
    drawing = drawn(Workload((Jobs("sd-1.5", images, steps=1),)), fleet)
    assert len(drawing.boxes) > 3
    assert all(box.x >= 0 and box.x + box.width <= RIGHT + 0.5 for box in drawing.boxes)


def test_a_submitter_who_is_called_like_a_grey_has_a_colour() -> None:
    drawing = drawn(Workload((Jobs("sd-1.5", 5, count=13), Jobs("sd-1.5", 50, submitter="loading", at=300.0))))
    bars = [box for box in drawing.boxes if ": loading;" in box.title and "; 0 images" not in box.title]
    assert {box.colour for box in bars} == {COLOURS[1]}


def test_a_run_in_which_nothing_was_rendered_is_drawn_too() -> None:
    assert "Images an hour by class of chip" in drawn(Workload((Jobs("sd-1.5", 2),)), faults=Faults((), 1.0)).texts


def test_a_submitter_of_control_characters_is_no_broken_file() -> None:
    workload = Workload((Jobs("sd-1.5", 1, count=13), Jobs("sd-1.5", 1, submitter="<\x1b[1m&\x00")))
    assert "<�[1m&�" in drawn(workload).texts


@pytest.mark.parametrize(
    ("stop", "first", "last"),
    [
        (1.0, "0 s", "1 s"),
        (45.0, "0 s", "45 s"),
        (70.0, "0 s", "70 s"),
        (600.0, "0 min", "10 min"),
        (5000.0, "0 min", "80 min"),
        (25_907.0, "0 h", "7 h"),
        (1e6, "0 d", "11 d"),
        (1e8, "0 d", "1100 d"),
    ],
)
def test_times_on_the_axis_are_round(stop: float, first: str, last: str) -> None:
    drawing = ET.fromstring(f"<svg>{''.join(TimeAxis(0, 1000, stop).draw(0, 10))}</svg>")
    names = [element.text for element in drawing.iter("text")]
    assert (names[0], names[-1], len(names) <= 13) == (first, last, True)


@pytest.mark.parametrize(
    ("stop", "step"), [(0.9, 0.2), (1.0, 0.2), (4.0, 1.0), (11.0, 5.0), (900.0, 200.0), (13_458.0, 5000.0)]
)
def test_figures_on_the_other_axis_are_round(stop: float, step: float) -> None:
    assert round_step(stop, 5) == pytest.approx(step)


def test_a_legend_has_as_many_lines_as_it_takes() -> None:
    names = [str(number) for number in range(100)]
    entries, bottom = legend([("red", name) for name in names], 0, 0, 500)
    lines = {ET.fromstring(entry).attrib["y"] for entry in entries if entry.startswith("<rect")}
    assert (len(entries), len(lines) > 5, bottom) == (200, True, len(lines) * LEGEND_LINE)
