"""Boxes cut out and boxes chosen, against slow and plain ways to do the same."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

from tests.mil.cases import Array, Case, check, results_of

rng = np.random.default_rng(9)
CENTRES = rng.uniform(0, 10, (2, 12, 2))
INPUTS: dict[str, Array] = {
    "x": rng.standard_normal((2, 3, 6, 5)).astype(np.float32),
    "boxes": np.concatenate([CENTRES, rng.uniform(1, 6, (2, 12, 2))], axis=-1).astype(np.float32),
    "scores": rng.uniform(0, 1, (2, 12, 3)).astype(np.float32),
}
CORNERS = np.array([[0.5, 1.0, 3.0, 3.5], [4.0, 0.0, 1.0, 4.0], [-1.0, 2.0, 4.0, 6.0]], np.float32)
"""Boxes of rows first: one inside, one upside down, one that leaves the picture."""


def crops(x: Array, corners: Array, pictures: list[int], size: tuple[int, int], pad: float = 0.0) -> Array:
    """Crops with aligned corners, point by point."""
    made = np.full((len(corners), x.shape[1], *size), pad, np.float32)
    for box, (top, left, bottom, right) in enumerate(corners):
        for i, row in enumerate(np.linspace(top, bottom, size[0])):
            for j, column in enumerate(np.linspace(left, right, size[1])):
                if 0 <= row <= x.shape[2] - 1 and 0 <= column <= x.shape[3] - 1:
                    made[box, :, i, j] = point(x[pictures[box]], row, column)
    return made


def point(picture: Array, row: float, column: float) -> Array:
    """A picture's channels between its elements."""
    low, left = int(row), int(column)
    high, right = min(low + 1, picture.shape[1] - 1), min(left + 1, picture.shape[2] - 1)
    top = picture[:, low, left] * (left + 1 - column) + picture[:, low, right] * (column - left)
    bottom = picture[:, high, left] * (left + 1 - column) + picture[:, high, right] * (column - left)
    result: Array = top * (low + 1 - row) + bottom * (row - low)
    return result


def overlap(a: Array, b: Array) -> float:
    """Intersection over union of two boxes, given by centre and size."""
    sides = [
        max(0.0, min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2))
        for i in (0, 1)
    ]
    shared = sides[0] * sides[1]
    return float(shared / (a[2] * a[3] + b[2] * b[3] - shared))


def suppressed(boxes: Array, scores: Array, threshold: float, least: float, *, per_class: bool) -> list[list[int]]:
    """Positions of the boxes of each picture that survive, the best first."""
    survivors = []
    for picture, marks in zip(boxes, scores, strict=True):
        chosen: list[int] = []
        for i in np.argsort(-marks.max(axis=-1)):
            rivals = [j for j in chosen if not per_class or marks[i].argmax() == marks[j].argmax()]
            if marks[i].max() > least and all(overlap(picture[i], picture[j]) <= threshold for j in rivals):
                chosen.append(int(i))
        survivors.append(chosen or [int(marks.max(axis=-1).argmax())])
    return survivors


def filled(positions: list[list[int]], length: int) -> Array:
    return np.array([(chosen + [-1] * length)[:length] for chosen in positions])


def first_of(values: Array, positions: list[list[int]]) -> Array:
    """What belongs to the first of the positions, of each picture; positions in the last dimension."""
    return np.stack([each[chosen[:1]].T for each, chosen in zip(values, positions, strict=True)])


def suppress(v: Any, output: int, **arguments: Any) -> Any:
    """One output of an operation on boxes in the last dimension, as iOS 17 has it."""
    boxes, scores = (mb.transpose(x=x, perm=[0, 2, 1]) for x in (v.boxes, v.scores))
    return mb.non_maximum_suppression(boxes=boxes, scores=scores, **arguments)[output]


CASES = [
    Case(
        "crop_resize",
        lambda v: mb.crop_resize(
            x=v.x,
            boxes=CORNERS,
            box_indices=np.array([1, 0, 1], np.int32),
            target_height=4,
            target_width=3,
            sampling_mode="ALIGN_CORNERS",
            pad_value=7.0,
        ),
        lambda a: crops(a.x, CORNERS, [1, 0, 1], (4, 3), pad=7.0),
    ),
    Case(
        "crop_resize by centre and size, columns first, normalized",
        lambda v: mb.crop_resize(
            x=v.x,
            boxes=np.array([[0.5, 0.4, 0.5, 0.8]], np.float32),
            target_height=2,
            target_width=2,
            normalized_coordinates=True,
            box_coordinate_mode="CENTER_SIZE_WIDTH_FIRST",
            sampling_mode="STRICT_ALIGN_CORNERS",
        ),
        lambda a: crops(a.x, np.array([[0.0, 1.0, 4.0, 3.0]]), [0], (2, 2)),
    ),
    Case(
        "non_maximum_suppression chooses boxes",
        lambda v: suppress(v, 2, iou_threshold=0.2, max_boxes=5),
        lambda a: filled(suppressed(a.boxes, a.scores, 0.2, -1, per_class=False), 5),
    ),
    Case(
        "non_maximum_suppression in each class for itself, filled up beyond the boxes there are",
        lambda v: suppress(v, 2, iou_threshold=0.1, max_boxes=15, per_class_suppression=True),
        lambda a: filled(suppressed(a.boxes, a.scores, 0.1, -1, per_class=True), 15),
    ),
    Case(
        "non_maximum_suppression gives the boxes it chose",
        lambda v: suppress(v, 0, iou_threshold=0.2, max_boxes=1),
        lambda a: first_of(a.boxes, suppressed(a.boxes, a.scores, 0.2, -1, per_class=False)),
    ),
    Case(
        "non_maximum_suppression gives the scores of the boxes it chose",
        lambda v: suppress(v, 1, iou_threshold=0.2, max_boxes=1),
        lambda a: first_of(a.scores, suppressed(a.boxes, a.scores, 0.2, -1, per_class=False)),
    ),
]

OLD_CASES = [
    Case(
        "crop_resize of every picture at every region",
        lambda v: mb.crop_resize(
            x=v.x,
            roi=CORNERS[:2].reshape(2, 1, 4, 1, 1),
            target_height=3,
            target_width=2,
            sampling_mode="ALIGN_CORNERS",
        ),
        lambda a: np.stack([crops(a.x, CORNERS[[i, i]], [0, 1], (3, 2)) for i in (0, 1)]),
    ),
    Case(
        "non_maximum_suppression counts the boxes above a score",
        lambda v: mb.non_maximum_suppression(
            boxes=v.boxes, scores=v.scores, iou_threshold=0.2, score_threshold=0.9, max_boxes=12
        )[3],
        lambda a: [len(chosen) for chosen in suppressed(a.boxes, a.scores, 0.2, 0.9, per_class=False)],
    ),
    Case(
        "non_maximum_suppression keeps the best box where none is good enough",
        lambda v: mb.non_maximum_suppression(
            boxes=v.boxes, scores=v.scores, iou_threshold=0.2, score_threshold=2.0, max_boxes=2
        )[2],
        lambda a: [[marks.max(axis=-1).argmax(), -1] for marks in a.scores],
    ),
]


@pytest.fixture(scope="module")
def results() -> dict[str, Array]:
    return results_of(CASES, INPUTS) | results_of(OLD_CASES, INPUTS, opset="iOS16")


@pytest.mark.parametrize("case", [*CASES, *OLD_CASES], ids=lambda case: case.name)
def test_regions_are_those_that_a_plain_way_finds(case: Case, results: Mapping[str, Array]) -> None:
    check(case, results, INPUTS)
