"""Operations on regions of pictures: boxes cut out, boxes chosen.

Definitions: `mil/ops/defs/iOS15/image_resizing.py` and `tensor_operation.py` of coremltools 9.0, with iOS 16 and 17.
What they leave open (classes, and pictures of which no box is chosen) is as in the reference of coremltools' own tests.
"""

import numpy as np
from numpy.typing import NDArray

from farm.mil.graph import Graph, Operand, Result, Tensor, UnsupportedError, cast, fixed, fp32, indices, int64
from farm.mil.table import OperationTable

OPERATIONS = OperationTable()

_LEAST = np.finfo(np.float32).min


@OPERATIONS.operation
def crop_resize(
    g: Graph,
    x: Tensor,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
    box_indices: Tensor | None = None,
    *,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Result:
    height, width = fixed(x.type.shape[2:])
    corners, pictures = _boxes_and_pictures(g, x, roi, boxes, box_indices)
    scale = spatial_scale * np.array([height - 1, width - 1] if normalized_coordinates else [1, 1])
    rows, columns = _points(g, corners, box_coordinate_mode, scale, (target_height, target_width), sampling_mode)
    inside = g.node("And", _within(g, rows, height), _within(g, columns, width))
    grid = g.node("Concat", _normalized(g, columns, width, rows), _normalized(g, rows, height, columns), axis=-1)
    picked = g.node("Gather", x, pictures, axis=0)
    sampled = g.node("GridSample", picked, grid, mode="linear", padding_mode="border", align_corners=1)
    padded = g.node("Where", g.node("Unsqueeze", inside, int64([1])), sampled, fp32(pad_value))
    return g.node("Reshape", padded, int64(fixed(g.results[0].shape)))


def _boxes_and_pictures(
    g: Graph, x: Tensor, roi: Tensor | None, boxes: Tensor | None, box_indices: Tensor | None
) -> tuple[Operand, Operand]:
    """Four numbers and the picture of each crop: shapes (crops, 4) and (crops,)."""
    if boxes is not None:
        (count, _) = boxes.shape
        return boxes, int64(range(count)) if box_indices is None else indices(g, box_indices)
    if roi is None:
        raise UnsupportedError("it has neither boxes nor roi")
    count, _, numbers, _, _ = roi.shape
    flat = g.node("Reshape", roi, int64([count, numbers]))
    if numbers == 5:  # the first is the picture's
        picture, corners = g.nodes_of("Split", flat, int64([1, 4]), outputs=2, axis=1)
        return corners, cast(g, g.node("Reshape", picture, int64([-1])), np.int64)
    (batch, *_) = x.shape
    return g.node("Gather", flat, np.repeat(int64(range(count)), batch)), np.tile(int64(range(batch)), count)


def _points(
    g: Graph, boxes: Operand, mode: str, scale: NDArray[np.float64], targets: tuple[int, int], sampling: str
) -> tuple[str, str]:
    """Rows (crops, height, 1, 1) and columns (crops, 1, width, 1) in the picture at which the crops sample it."""
    kind, _, first = mode.partition("_HEIGHT") if "_HEIGHT" in mode else mode.partition("_WIDTH")
    parts = g.nodes_of("Split", boxes, int64([2, 2]), outputs=2, axis=1)
    starts, ends = parts
    if kind == "CENTER_SIZE":
        half = g.node("Mul", parts[1], fp32(0.5))
        starts, ends = g.node("Sub", parts[0], half), g.node("Add", parts[0], half)
    elif kind != "CORNERS" or not first:
        raise UnsupportedError(f"box_coordinate_mode '{mode}' is not known")
    points = []
    for axis, target in enumerate(targets):
        column = axis if "_HEIGHT" in mode else 1 - axis
        start, end = (
            g.node("Mul", g.node("Gather", side, int64([column]), axis=1), fp32(scale[axis])) for side in (starts, ends)
        )
        share, shift = _shares(target, sampling)
        along = g.node("Add", g.node("Mul", g.node("Sub", end, start), share), g.node("Add", start, shift))
        points.append(g.node("Unsqueeze", along, int64([2 - axis, 3])))
    return points[0], points[1]


def _shares(target: int, mode: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Samples as shares of a box's extent and shifts from its start; a box has its extent and one more elements."""
    i = np.arange(target)
    match mode:
        case "ALIGN_CORNERS" if target == 1:
            return fp32([0.5]), fp32([0.0])
        case "ALIGN_CORNERS" | "STRICT_ALIGN_CORNERS":
            return fp32(i / max(target - 1, 1)), fp32(0 * i)
        case "DEFAULT":
            return fp32(i / target), fp32(i / target)
        case "OFFSET_CORNERS":
            return fp32((i + 0.5) / target), fp32(0 * i)
        case "UNALIGN_CORNERS":
            return fp32((i + 0.5) / target), fp32((i + 0.5) / target - 0.5)
    raise UnsupportedError(f"sampling_mode '{mode}' is not known")


def _within(g: Graph, points: str, size: int) -> str:
    """Whether points lie in the picture; shape (crops, height or 1, 1 or width)."""
    flat = g.node("Squeeze", points, int64([3]))
    return g.node("And", g.node("GreaterOrEqual", flat, fp32(0.0)), g.node("LessOrEqual", flat, fp32(size - 1)))


def _normalized(g: Graph, points: str, size: int, others: str) -> str:
    """Points as GridSample wants them, from -1 to 1, repeated along the dimension that the others vary in."""
    scaled = g.node("Sub", g.node("Mul", points, fp32(2 / max(size - 1, 1))), fp32(1.0))
    return g.node("Add", scaled, g.node("Mul", others, fp32(0.0)))


@OPERATIONS.operation
def non_maximum_suppression(
    g: Graph,
    boxes: Tensor,
    scores: Tensor,
    *,
    iou_threshold: float,
    score_threshold: float | None = None,
    max_boxes: int,
    per_class_suppression: bool = False,
) -> list[Result]:
    boxes_last = len(g.results) == 3  # iOS 17 has the boxes in the last dimension, and no count
    by_box: Operand = g.node("Transpose", boxes, perm=[0, 2, 1]) if boxes_last else boxes
    scores_by_box: Operand = g.node("Transpose", scores, perm=[0, 2, 1]) if boxes_last else scores
    batch, classes, count = scores.shape if boxes_last else (scores.shape[0], scores.shape[2], scores.shape[1])
    best = g.node("ReduceMax", scores_by_box, int64([-1]), keepdims=0)
    by_class = _scores_by_class(g, scores_by_box, best, classes) if per_class_suppression else best
    selected = g.node(
        "NonMaxSuppression",
        by_box,
        by_class if per_class_suppression else g.node("Unsqueeze", best, int64([1])),
        int64([max_boxes]),
        fp32([iou_threshold]),
        fp32([_LEAST if score_threshold is None else score_threshold]),
        center_point_box=1,
    )
    kept = _kept(g, selected, best, (batch, count))
    k = min(max_boxes, count)
    values, order = g.nodes_of("TopK", g.node("Where", kept, best, fp32(-np.inf)), int64([k]), outputs=2)
    valid = g.node("Greater", values, fp32(-np.inf))
    chosen = g.node("Where", valid, order, int64(-1))
    return _padded(g, by_box, scores_by_box, order, valid, chosen, max_boxes - k, boxes_last)


def _scores_by_class(g: Graph, scores: Operand, best: str, classes: int) -> str:
    """Shape (batch, classes, boxes): each box has its score in its best class only."""
    own = g.node("ArgMax", scores, axis=-1, keepdims=0)
    is_own = g.node("Equal", g.node("Unsqueeze", own, int64([1])), int64(range(classes)).reshape(1, -1, 1))
    return g.node("Where", is_own, g.node("Unsqueeze", best, int64([1])), fp32(-np.inf))


def _kept(g: Graph, selected: str, best: str, shape: tuple[int, int]) -> str:
    """Which boxes are selected; the best of a picture where none is."""
    places = g.node("Gather", selected, int64([0, 2]), axis=1)
    ones = g.node("Expand", fp32(1.0), g.node("Shape", places, end=1))
    marks = g.node("ScatterND", np.zeros(shape, np.float32), places, ones)
    none = g.node("Equal", g.node("ReduceMax", marks, int64([1]), keepdims=1), fp32(0.0))
    is_best = g.node("Equal", best, g.node("ReduceMax", best, int64([1]), keepdims=1))
    return g.node("Or", g.node("Greater", marks, fp32(0.0)), g.node("And", none, is_best))


def _padded(
    g: Graph,
    boxes: Operand,
    scores: Operand,
    order: str,
    valid: str,
    chosen: str,
    missing: int,
    boxes_last: bool,
) -> list[Result]:
    """The outputs, filled up with zeros, and with -1 among the positions."""
    results: list[Result] = []
    for values in (boxes, scores):
        picked = g.node("GatherND", values, g.node("Unsqueeze", order, int64([-1])), batch_dims=1)
        clean = g.node("Where", g.node("Unsqueeze", valid, int64([-1])), picked, fp32(0.0))
        filled = g.node("Pad", clean, int64([0, missing]), None, int64([1]))
        results.append(g.node("Transpose", filled, perm=[0, 2, 1]) if boxes_last else filled)
    results.append(cast(g, g.node("Pad", chosen, int64([0, missing]), int64(-1), int64([1])), np.int32))
    if not boxes_last:
        results.append(g.node("ReduceSum", cast(g, valid, np.int32), int64([1]), keepdims=0))
    return results
