"""Compressed constants, expanded when the model is translated; and quantisation of computed values.

Definitions: `mil/ops/defs/iOS16/constexpr_ops.py`, `iOS17/quantization_ops.py` and `iOS18/compression.py` of
coremltools 9.0. iOS 16 packs indices and masks into bytes and gives the shape; iOS 18 has types below a byte and
blocks.
"""

import numpy as np
from numpy.typing import NDArray

from farm.mil.graph import Graph, Operand, Result, Tensor, cast, fp32
from farm.mil.table import OperationTable
from farm.mil.weights import unpack

OPERATIONS = OperationTable()

Array = NDArray[np.generic]


@OPERATIONS.operation
def constexpr_cast(_g: Graph, source_val: Tensor, *, _output_dtype: str) -> Result:
    return source_val


@OPERATIONS.operation
def constexpr_affine_dequantize(
    _g: Graph, quantized_data: Tensor, zero_point: Tensor, scale: Tensor, *, axis: int
) -> Result:
    data = quantized_data.stored()
    shape = [1] * data.ndim
    shape[axis] = -1
    offset, step = (fp32(tensor.stored()).reshape(shape) for tensor in (zero_point, scale))
    return (data.astype(np.float32) - offset) * step


@OPERATIONS.operation
def constexpr_lut_to_dense(
    _g: Graph, indices: Tensor, lut: Tensor, *, shape: list[int] | None = None, vector_axis: int | None = None
) -> Result:
    table = lut.stored()
    if shape is None:
        return _look_up(indices.stored(), table, vector_axis)
    bits = int(table.size - 1).bit_length()
    positions = unpack(indices.stored().view(np.uint8), bits, int(np.prod(shape)))
    return table[positions].reshape(shape)


@OPERATIONS.operation
def constexpr_blockwise_shift_scale(_g: Graph, data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Result:
    return _shift_scale(data.stored(), scale.stored(), None if offset is None else offset.stored())


@OPERATIONS.operation
def constexpr_sparse_to_dense(
    _g: Graph, nonzero_data: Tensor, mask: Tensor, *, shape: list[int] | None = None
) -> Result:
    if shape is None:
        return _scatter(nonzero_data.stored(), mask.stored())
    bits = unpack(mask.stored().view(np.uint8), 1, int(np.prod(shape)))
    return _scatter(nonzero_data.stored(), bits.reshape(shape))


@OPERATIONS.operation
def constexpr_lut_to_sparse(
    _g: Graph, indices_mask: Tensor, indices_nonzero_data: Tensor, lut: Tensor, *, vector_axis: int | None = None
) -> list[Result]:
    mask, table = indices_mask.stored(), lut.stored()
    dense = _look_up(_scatter(indices_nonzero_data.stored(), mask), table, vector_axis)
    if table.shape[-1] > 1:
        assert vector_axis is not None
        mask = np.repeat(mask, table.shape[-1], axis=vector_axis)
    return [mask, dense[mask != 0]]


@OPERATIONS.operation
def constexpr_sparse_blockwise_shift_scale(
    _g: Graph, data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> list[Result]:
    mask = data_mask.stored()
    dense = _scatter(nonzero_data.stored(), mask)
    expanded = _shift_scale(dense, scale.stored(), None if offset is None else offset.stored())
    return [mask, expanded[mask != 0]]


def _scatter(nonzero: Array, mask: Array) -> Array:
    """The dense form of sparse data: its values, in order, where the mask is set, and zeros elsewhere."""
    dense = np.zeros(mask.shape, nonzero.dtype)
    dense[mask != 0] = nonzero
    return dense


def _look_up(indices: Array, lut: Array, vector_axis: int | None) -> Array:
    """Values of a palette with blocks.

    Args:
        indices: Positions in the palette.
        lut: Palettes, of shape (blocks in each dimension..., entries, elements of an entry).
        vector_axis: Dimension along which the elements of an entry are laid; needed if there are several.
    """
    *blocks, _, length = lut.shape
    block = [
        np.arange(size).reshape([-1 if i == axis else 1 for i in range(indices.ndim)]) // (size // count)
        for axis, (size, count) in enumerate(zip(indices.shape, blocks, strict=True))
    ]
    entries: Array = lut[(*block, indices)]
    if length == 1:
        return entries[..., 0]
    if vector_axis is None:
        raise ValueError("a palette of vectors needs vector_axis")
    axis = vector_axis % indices.ndim
    shape = list(indices.shape)
    shape[axis] *= length
    return np.moveaxis(entries, -1, axis + 1).reshape(shape)


def _shift_scale(data: Array, scale: Array, offset: Array | None) -> Array:
    """`scale * (data - offset)`, where each element of scale and offset serves a block of data."""
    shifted = data.astype(np.float32)
    if offset is not None:
        shifted -= _repeated(offset, data.shape)
    shifted *= _repeated(scale, data.shape)
    return shifted


def _repeated(x: Array, shape: tuple[int, ...]) -> NDArray[np.float32]:
    result = x.astype(np.float32)
    for axis, (count, size) in enumerate(zip(x.shape, shape, strict=True)):
        if 1 < count < size:
            result = np.repeat(result, size // count, axis=axis)
    return result


_LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int4": (-8, 7), "uint4": (0, 15)}


@OPERATIONS.operation
def quantize(
    g: Graph,
    input_: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    output_dtype: str,
    axis: int | None = None,
) -> Result:
    scaled = g.node("Round", g.node("Div", input_, _along(input_, scale, axis)))
    if zero_point is not None:
        scaled = g.node("Add", scaled, _along(input_, zero_point, axis))
    low, high = _LIMITS[output_dtype]
    return cast(g, g.node("Clip", scaled, fp32(low), fp32(high)), np.int32)


@OPERATIONS.operation
def dequantize(
    g: Graph, input_: Tensor, scale: Tensor, zero_point: Tensor | None = None, *, axis: int | None = None
) -> Result:
    shifted: Operand = cast(g, input_, np.float32)
    if zero_point is not None:
        shifted = g.node("Sub", shifted, _along(input_, zero_point, axis))
    return g.node("Mul", shifted, _along(input_, scale, axis))


def _along(x: Tensor, vector: Tensor, axis: int | None) -> NDArray[np.float32]:
    """A scalar, or a vector in a shape that broadcasts along an axis of `x`."""
    values = fp32(vector.stored())
    if values.ndim == 0 or axis is None:
        return values
    shape = [1] * x.rank
    shape[axis] = -1
    return values.reshape(shape)
