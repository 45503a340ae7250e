"""Operations that rearrange elements: shapes, slices, joins, padding, blocks; and those that make tensors.

Definitions: `mil/ops/defs/iOS15/tensor_transformation.py` and `tensor_operation.py` of coremltools 9.0, with iOS 16
to 18.
"""

import math
from collections.abc import Sequence

import numpy as np

from farm.mil.graph import (
    Graph,
    Operand,
    Result,
    Tensor,
    UnsupportedError,
    cast,
    fixed,
    fp32,
    graph_type,
    indices,
    int64,
    static_shape,
)
from farm.mil.program import ValueType
from farm.mil.table import OperationTable

OPERATIONS = OperationTable()

_END = np.iinfo(np.int64).max
_BEFORE_START = np.iinfo(np.int64).min


# Shapes


@OPERATIONS.operation
def reshape(g: Graph, x: Tensor, shape: Tensor) -> Result:
    if shape.known is not None and 0 in shape.value() and None not in g.results[0].shape:
        return g.node("Reshape", x, int64(fixed(g.results[0].shape)))  # iOS 17 has its own rules for zeros
    return g.node("Reshape", x, indices(g, shape))


@OPERATIONS.operation
def reshape_like(
    g: Graph,
    x: Tensor,
    _ref_tensors: tuple[Tensor, ...],
    _begins: tuple[Tensor, ...],
    _ends: tuple[Tensor, ...],
    _end_masks: tuple[Tensor, ...],
) -> Result:
    return g.node("Reshape", x, int64(static_shape(g.results[0])))


@OPERATIONS.operation
def flatten2d(g: Graph, x: Tensor, *, axis: int = 1) -> Result:
    return g.node("Flatten", x, axis=axis)


@OPERATIONS.operation
def transpose(g: Graph, x: Tensor, *, perm: list[int]) -> Result:
    return g.node("Transpose", x, perm=[axis % x.rank for axis in perm])


@OPERATIONS.operation
def expand_dims(g: Graph, x: Tensor, *, axes: list[int]) -> Result:
    return g.node("Unsqueeze", x, int64(axes))


@OPERATIONS.operation
def squeeze(g: Graph, x: Tensor, *, axes: list[int] | None = None) -> Result:
    return g.node("Squeeze", x, None if axes is None else int64(axes))


@OPERATIONS.operation
def identity(_g: Graph, x: Tensor) -> Result:
    return x


@OPERATIONS.operation
def shape(g: Graph, x: Tensor) -> Result:
    if None not in x.type.shape:
        return np.asarray(x.shape, np.int32)
    return cast(g, g.node("Shape", x), np.int32)


# Slices


def _bounds(g: Graph, bounds: Tensor, mask: list[bool] | None, open_ends: list[int]) -> Operand:
    """Begins or ends for ONNX's Slice: `open_ends` where the mask says so."""
    given = indices(g, bounds)
    if mask is None or not any(mask):
        return given
    if isinstance(given, np.ndarray):
        return np.where(mask, int64(open_ends), given)
    return g.node("Where", np.array(mask), int64(open_ends), given)


def _pick(g: Graph, vector: Operand, positions: int | list[int]) -> Operand:
    """One element of a vector, or several."""
    if isinstance(vector, np.ndarray):
        return int64(vector[positions])
    return g.node("Gather", vector, int64(positions))


@OPERATIONS.operation
def slice_by_index(
    g: Graph,
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    *,
    stride: list[int] | None = None,
    begin_mask: list[bool] | None = None,
    end_mask: list[bool] | None = None,
    squeeze_mask: list[bool] | None = None,
) -> Result:
    return _slice(g, x, begin, end, stride or [1] * x.rank, begin_mask, end_mask, squeeze_mask)


def _slice(
    g: Graph,
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    steps: list[int],
    begin_mask: list[bool] | None,
    end_mask: list[bool] | None,
    squeeze_mask: list[bool] | None,
) -> str:
    begins = _bounds(g, begin, begin_mask, [0 if step > 0 else _END for step in steps])
    ends = _bounds(g, end, end_mask, [_END if step > 0 else _BEFORE_START for step in steps])
    dropped = [axis for axis in range(x.rank) if squeeze_mask is not None and squeeze_mask[axis]]
    if not dropped:
        return g.node("Slice", x, begins, ends, int64(range(x.rank)), int64(steps))
    # A dropped dimension is indexed, not sliced: its end is ignored.
    indexed = g.node("Gather", x, _pick(g, begins, dropped[-1]), axis=dropped[-1])
    for axis in reversed(dropped[:-1]):
        indexed = g.node("Gather", indexed, _pick(g, begins, axis), axis=axis)
    kept = [axis for axis in range(x.rank) if axis not in dropped]
    if not kept:
        return indexed
    steps = [steps[axis] for axis in kept]
    return g.node("Slice", indexed, _pick(g, begins, kept), _pick(g, ends, kept), int64(range(len(kept))), int64(steps))


@OPERATIONS.operation
def slice_by_size(g: Graph, x: Tensor, begin: Tensor, size: Tensor) -> Result:
    begins, sizes = indices(g, begin), indices(g, size)
    if isinstance(begins, np.ndarray) and isinstance(sizes, np.ndarray):
        ends: Operand = np.where(sizes == -1, _END, begins + sizes)
    else:
        to_the_end = g.node("Equal", sizes, int64(-1))
        ends = g.node("Where", to_the_end, int64(_END), g.node("Add", begins, sizes))
    return g.node("Slice", x, begins, ends, int64(range(x.rank)))


@OPERATIONS.operation
def slice_update(
    g: Graph,
    x: Tensor,
    update: Tensor,
    begin: Tensor,
    end: Tensor,
    *,
    stride: list[int] | None = None,
    begin_mask: list[bool] | None = None,
    end_mask: list[bool] | None = None,
    squeeze_mask: list[bool] | None = None,
) -> Result:
    # A slice of the positions of all elements says where the updates go.
    count = math.prod(x.shape)
    every = np.arange(count, dtype=np.int32).reshape(x.shape)
    all_positions = Tensor(g.unique("positions"), ValueType("int32", x.shape), every)
    sliced = _slice(g, all_positions, begin, end, stride or [1] * x.rank, begin_mask, end_mask, squeeze_mask)
    flat, updates, positions = (g.node("Reshape", tensor, int64([-1])) for tensor in (x, update, sliced))
    return g.node("Reshape", g.node("ScatterElements", flat, positions, updates), int64(x.shape))


@OPERATIONS.operation
def crop(g: Graph, x: Tensor, *, crop_height: list[int], crop_width: list[int]) -> Result:
    ends = [-after if after else _END for after in (crop_height[1], crop_width[1])]
    return g.node("Slice", x, int64([crop_height[0], crop_width[0]]), int64(ends), int64([-2, -1]))


@OPERATIONS.operation
def reverse(g: Graph, x: Tensor, *, axes: list[int] | None = None) -> Result:
    along = list(range(x.rank)) if axes is None else axes
    count = len(along)
    return g.node("Slice", x, int64([-1] * count), int64([_BEFORE_START] * count), int64(along), int64([-1] * count))


@OPERATIONS.operation
def reverse_sequence(g: Graph, x: Tensor, lengths: Tensor, *, seq_axis: int = 0, batch_axis: int = 0) -> Result:
    if {seq_axis, batch_axis} != {0, 1}:
        raise UnsupportedError(f"sequences along axis {seq_axis} in batches along {batch_axis}; only 0 and 1 are known")
    return g.node("ReverseSequence", x, indices(g, lengths), time_axis=seq_axis, batch_axis=batch_axis)


@OPERATIONS.operation
def sliding_windows(g: Graph, x: Tensor, *, axis: int, size: int, stride: int = 1) -> Result:
    axis %= x.rank
    starts = np.arange(0, x.shape[axis] - size + 1, stride, dtype=np.int64)
    return g.node("Gather", x, starts[:, None] + np.arange(size, dtype=np.int64), axis=axis)


# Joins and parts


@OPERATIONS.operation
def concat(g: Graph, values: tuple[Tensor, ...], *, axis: int, interleave: bool = False) -> Result:
    if not interleave:
        return g.node("Concat", *values, axis=axis)
    shape_ = list(values[0].shape)
    axis %= len(shape_)
    shape_[axis] *= len(values)
    return g.node("Reshape", _stack(g, values, axis + 1), int64(shape_))


@OPERATIONS.operation
def stack(g: Graph, values: tuple[Tensor, ...], *, axis: int) -> Result:
    return _stack(g, values, axis)


def _stack(g: Graph, values: Sequence[Tensor], axis: int) -> str:
    return g.node("Concat", *(g.node("Unsqueeze", value, int64([axis])) for value in values), axis=axis)


@OPERATIONS.operation
def split(
    g: Graph, x: Tensor, *, axis: int, num_splits: int | None = None, split_sizes: list[int] | None = None
) -> list[str]:
    count = len(g.results)
    if split_sizes is None:
        if num_splits != count:
            raise UnsupportedError(f"it declares {count} outputs and {num_splits} splits")
        return g.nodes_of("Split", x, outputs=count, axis=axis, num_outputs=count)
    return g.nodes_of("Split", x, int64(split_sizes), outputs=count, axis=axis)


@OPERATIONS.operation
def tile(g: Graph, x: Tensor, reps: Tensor) -> Result:
    return g.node("Tile", x, indices(g, reps))


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


@OPERATIONS.operation
def pad(g: Graph, x: Tensor, pad: Tensor, *, mode: str = "constant", constant_val: float = 0.0) -> Result:
    amounts = pad.value().reshape(-1, 2)  # of the last dimensions, before and after each
    axes = np.arange(x.rank - len(amounts), x.rank, dtype=np.int64)
    value = np.asarray(constant_val, graph_type(x.type.dtype)) if mode == "constant" else None
    return g.node("Pad", x, int64(amounts.T.reshape(-1)), value, axes, mode=_PAD_MODES[mode])


# Blocks


@OPERATIONS.operation
def depth_to_space(g: Graph, x: Tensor, *, block_size: int) -> Result:
    return g.node("DepthToSpace", x, blocksize=block_size, mode="DCR")


@OPERATIONS.operation
def space_to_depth(g: Graph, x: Tensor, *, block_size: int) -> Result:
    return g.node("SpaceToDepth", x, blocksize=block_size)


@OPERATIONS.operation
def pixel_shuffle(g: Graph, x: Tensor, *, upscale_factor: int) -> Result:
    return g.node("DepthToSpace", x, blocksize=upscale_factor, mode="CRD")


@OPERATIONS.operation
def pixel_unshuffle(g: Graph, x: Tensor, *, downscale_factor: int) -> Result:
    n, c, h, w = x.shape
    r = downscale_factor
    blocks = g.node("Reshape", x, int64([n, c, h // r, r, w // r, r]))
    return g.node(
        "Reshape",
        g.node("Transpose", blocks, perm=[0, 1, 3, 5, 2, 4]),
        int64([n, c * r * r, h // r, w // r]),
    )


@OPERATIONS.operation
def space_to_batch(g: Graph, x: Tensor, *, block_shape: list[int], paddings: list[list[int]]) -> Result:
    (top, bottom), (left, right) = paddings
    n, c, h, w = x.shape
    rows, columns = block_shape
    h, w = h + top + bottom, w + left + right
    padded = g.node("Pad", x, int64([top, left, bottom, right]), None, int64([2, 3]))
    blocks = g.node("Reshape", padded, int64([n, c, h // rows, rows, w // columns, columns]))
    return g.node(
        "Reshape",
        g.node("Transpose", blocks, perm=[3, 5, 0, 1, 2, 4]),
        int64([rows * columns * n, c, h // rows, w // columns]),
    )


@OPERATIONS.operation
def batch_to_space(g: Graph, x: Tensor, *, block_shape: list[int], crops: list[list[int]]) -> Result:
    n, c, h, w = x.shape
    rows, columns = block_shape
    n //= rows * columns
    blocks = g.node("Reshape", x, int64([rows, columns, n, c, h, w]))
    whole = g.node(
        "Reshape", g.node("Transpose", blocks, perm=[2, 3, 4, 0, 5, 1]), int64([n, c, h * rows, w * columns])
    )
    (top, bottom), (left, right) = crops
    ends = [h * rows - bottom, w * columns - right]
    return g.node("Slice", whole, int64([top, left]), int64(ends), int64([2, 3]))


# Tensors from little


@OPERATIONS.operation
def fill(g: Graph, shape: Tensor, *, value: float = 0.0) -> Result:
    return g.node("Expand", np.asarray(value, graph_type(g.results[0].dtype)), indices(g, shape))


@OPERATIONS.operation
def fill_like(g: Graph, ref_tensor: Tensor, *, value: float = 0.0) -> Result:
    return g.node("Expand", np.asarray(value, graph_type(g.results[0].dtype)), g.node("Shape", ref_tensor))


@OPERATIONS.operation
def range_1d(g: Graph, end: Tensor, start: Tensor, step: Tensor) -> Result:
    return g.node("Range", start, end, step)


@OPERATIONS.operation
def one_hot(
    g: Graph,
    indices_: Tensor,
    one_hot_vector_size: Tensor,
    *,
    axis: int = -1,
    on_value: float = 1,
    off_value: float = 0,
) -> Result:
    encoded = g.node(
        "OneHot", indices(g, indices_), indices(g, one_hot_vector_size), fp32([off_value, on_value]), axis=axis
    )
    wanted = graph_type(g.results[0].dtype)  # onnxruntime makes one-hot integers of few types only
    return encoded if wanted is np.float32 else cast(g, encoded, wanted)


@OPERATIONS.operation
def band_part(g: Graph, x: Tensor, *, lower: int = -1, upper: int = -1) -> Result:
    rows, columns = x.shape[-2:]
    offset = np.arange(rows)[:, None] - np.arange(columns)
    inside = ((lower < 0) | (offset <= lower)) & ((upper < 0) | (-offset <= upper))
    return g.node("Where", inside, x, np.asarray(0, graph_type(x.type.dtype)))
