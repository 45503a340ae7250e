"""Layers: convolutions, pools, normalisations.

Definitions: `mil/ops/defs/iOS15/conv.py`, `pool.py` and `normalization.py` of coremltools 9.0, with iOS 17.
Spatial padding is written by MIL as (before, after) for each dimension, by ONNX as all befores, then all afters.
"""

from collections.abc import Sequence

import numpy as np

from farm.mil.graph import Graph, Operand, Result, Tensor, UnsupportedError, fixed, fp32, int64
from farm.mil.table import OperationTable

OPERATIONS = OperationTable()


def _padding(
    x: Tensor,
    pad_type: str,
    pad: Sequence[int] | None,
    extents: Sequence[int],
    strides: Sequence[int],
) -> list[tuple[int, int]]:
    """Padding before and after each spatial dimension.

    Args:
        x: The input.
        pad_type: "valid" pads nothing, "custom" pads what `pad` says, "same" so much that a stride of n gives an nth of
            the size, rounded up, with an odd element after the input, or before it for "same_lower".
        pad: (before, after) of each dimension, one list.
        extents: Elements that the kernel spans in each dimension, dilation included.
        strides: Stride in each dimension.
    """
    if pad_type == "valid":
        return [(0, 0)] * len(extents)
    if pad_type == "custom":
        given = list(pad or [0] * 2 * len(extents))
        return list(zip(given[::2], given[1::2], strict=True))
    if pad_type not in ("same", "same_lower"):
        raise UnsupportedError(f"pad_type '{pad_type}' is not known")
    amounts = []
    for size, extent, stride in zip(fixed(x.type.shape[2:]), extents, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        small, large = total // 2, total - total // 2
        amounts.append((small, large) if pad_type == "same" else (large, small))
    return amounts


def _onnx_pads(amounts: Sequence[tuple[int, int]]) -> list[int]:
    return [before for before, _ in amounts] + [after for _, after in amounts]


def _extents(kernel: Sequence[int], dilations: Sequence[int]) -> list[int]:
    return [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]


# Convolutions


@OPERATIONS.operation
def conv(
    g: Graph,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    strides: list[int] | None = None,
    pad_type: str = "valid",
    pad: list[int] | None = None,
    dilations: list[int] | None = None,
    groups: int = 1,
) -> Result:
    ones = [1] * (x.rank - 2)
    kernel = weight.shape[2:]
    amounts = _padding(x, pad_type, pad, _extents(kernel, dilations or ones), strides or ones)
    return g.node(
        "Conv",
        x,
        weight,
        bias,
        kernel_shape=kernel,
        strides=strides or ones,
        dilations=dilations or ones,
        group=groups,
        pads=_onnx_pads(amounts),
    )


@OPERATIONS.operation
def conv_transpose(
    g: Graph,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    pad: list[int] | None = None,
    output_shape: list[int] | None = None,
    pad_type: str = "valid",
    strides: list[int] | None = None,
    dilations: list[int] | None = None,
    groups: int = 1,
) -> Result:
    ones = [1] * (x.rank - 2)
    strides, dilations = strides or ones, dilations or ones
    extents = _extents(weight.shape[2:], dilations)
    if None in x.type.shape[2:] and output_shape is None and not pad_type.startswith("same"):
        amounts = _padding(x, pad_type, pad, extents, strides)
        missing = [0] * len(amounts)
    else:
        # What the program declares is `output_shape` where that is given, and follows from `pad_type` where it is not.
        sizes = fixed(g.results[0].shape[2:])
        spans = [
            (size - 1) * stride + extent
            for size, stride, extent in zip(fixed(x.type.shape[2:]), strides, extents, strict=True)
        ]
        if pad_type.startswith("same"):
            surplus = [max(span - size, 0) for span, size in zip(spans, sizes, strict=True)]
            amounts = [(total // 2, total - total // 2) for total in surplus]
        else:
            amounts = _padding(x, pad_type, pad, extents, strides)
        missing = [
            size - (span - before - after) for size, span, (before, after) in zip(sizes, spans, amounts, strict=True)
        ]
    return g.node(
        "ConvTranspose",
        x,
        weight,
        bias,
        kernel_shape=weight.shape[2:],
        strides=strides,
        dilations=dilations,
        group=groups,
        pads=_onnx_pads([(before, after - min(m, 0)) for (before, after), m in zip(amounts, missing, strict=True)]),
        output_padding=[max(m, 0) for m in missing],
    )


# Pools


@OPERATIONS.operation
def avg_pool(
    g: Graph,
    x: Tensor,
    *,
    kernel_sizes: list[int],
    pad_type: str,
    strides: list[int] | None = None,
    pad: list[int] | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Result:
    strides = strides or [1] * len(kernel_sizes)
    return g.node(
        "AveragePool",
        x,
        kernel_shape=kernel_sizes,
        strides=strides,
        pads=_onnx_pads(_padding(x, pad_type, pad, kernel_sizes, strides)),
        count_include_pad=int(not exclude_padding_from_average),
        ceil_mode=int(ceil_mode),
    )


@OPERATIONS.operation
def max_pool(
    g: Graph,
    x: Tensor,
    *,
    kernel_sizes: list[int],
    pad_type: str,
    strides: list[int] | None = None,
    pad: list[int] | None = None,
    ceil_mode: bool = False,
) -> Result:
    strides = strides or [1] * len(kernel_sizes)
    pads = _onnx_pads(_padding(x, pad_type, pad, kernel_sizes, strides))
    return g.node("MaxPool", x, kernel_shape=kernel_sizes, strides=strides, pads=pads, ceil_mode=int(ceil_mode))


@OPERATIONS.operation
def l2_pool(
    g: Graph,
    x: Tensor,
    *,
    kernel_sizes: list[int],
    pad_type: str,
    strides: list[int] | None = None,
    pad: list[int] | None = None,
    ceil_mode: bool = False,
) -> Result:
    strides = strides or [1] * len(kernel_sizes)
    pads = _onnx_pads(_padding(x, pad_type, pad, kernel_sizes, strides))
    return g.node("LpPool", x, kernel_shape=kernel_sizes, strides=strides, pads=pads, ceil_mode=int(ceil_mode), p=2)


# Normalisations


@OPERATIONS.operation
def batch_norm(
    g: Graph,
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    epsilon: float = 1e-5,
) -> Result:
    scale, shift = _affine(x.type.shape[1], gamma, beta, mean.shape)
    return g.node("BatchNormalization", x, scale, shift, mean, variance, epsilon=epsilon)


@OPERATIONS.operation
def instance_norm(
    g: Graph, x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, *, epsilon: float = 1e-5
) -> Result:
    scale, shift = _affine(x.type.shape[1], gamma, beta, None)
    return g.node("InstanceNormalization", x, scale, shift, epsilon=epsilon)


def _affine(
    channels: int | None, gamma: Tensor | None, beta: Tensor | None, shape: tuple[int, ...] | None
) -> tuple[Operand, Operand]:
    """Scale and shift with their defaults, 1 and 0."""
    if shape is None:
        if channels is None:
            raise UnsupportedError("the number of channels is open")
        shape = (channels,)
    return gamma or np.ones(shape, np.float32), beta or np.zeros(shape, np.float32)


@OPERATIONS.operation
def layer_norm(
    g: Graph,
    x: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    axes: list[int] | None = None,
    epsilon: float = 1e-5,
) -> Result:
    along = sorted(axis % x.rank for axis in (range(x.rank) if axes is None else axes))
    scale: Operand = gamma or np.ones(fixed([x.type.shape[axis] for axis in along]), np.float32)
    order = [axis for axis in range(x.rank) if axis not in along] + along
    if order == sorted(order):
        return g.node("LayerNormalization", x, scale, beta, axis=along[0], epsilon=epsilon)
    last = g.node("Transpose", x, perm=order)
    normal = g.node("LayerNormalization", last, scale, beta, axis=x.rank - len(along), epsilon=epsilon)
    return g.node("Transpose", normal, perm=np.argsort(order).tolist())


@OPERATIONS.operation
def l2_norm(g: Graph, x: Tensor, *, epsilon: float = 1e-6) -> Result:
    total = g.node("ReduceSumSquare", x, int64([-3, -2, -1]))
    return g.node("Div", x, g.node("Sqrt", g.node("Add", total, fp32(epsilon))))


@OPERATIONS.operation
def local_response_norm(
    g: Graph, x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Result:
    # A mean over neighbouring channels is an average pool along them, once they are a spatial dimension.
    n, c, *spatial = x.shape
    squares = g.node("Reshape", g.node("Mul", x, x), int64([n, 1, c, -1]))
    before = size // 2  # as torch, whose converter hands `size` on unchanged
    mean = g.node(
        "AveragePool", squares, kernel_shape=[size, 1], pads=[before, 0, size - 1 - before, 0], count_include_pad=1
    )
    divisor = g.node("Pow", g.node("Add", g.node("Mul", mean, fp32(alpha)), fp32(k)), fp32(beta))
    return g.node("Div", x, g.node("Reshape", divisor, int64([n, c, *spatial])))
