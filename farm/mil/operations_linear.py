"""Matrix products: linear, matmul, einsum, attention.

Definitions: `mil/ops/defs/iOS15/linear.py` and `iOS18/transformers.py` of coremltools 9.0.
"""

import math

import numpy as np

from farm.mil.graph import Graph, Operand, Result, Tensor, UnsupportedError, cast, fp32, graph_type, int64
from farm.mil.table import OperationTable

OPERATIONS = OperationTable()


@OPERATIONS.operation
def linear(g: Graph, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Result:
    if not (x.is_float and weight.is_float):  # from iOS 17 on; integers below 2²⁴ are exact in fp32
        product = g.node("MatMul", cast(g, x, np.float32), fp32(weight.value().T))
        whole = product if bias is None else g.node("Add", product, fp32(bias.value()))
        return whole if graph_type(g.results[0].dtype) is np.float32 else cast(g, whole, np.int32)
    if bias is None or not bias.stored().any():  # coremltools writes zeros where a layer has no bias
        return g.node("MatMul", x, g.node("Transpose", weight, perm=[1, 0]))
    # Gemm takes the weight as it is stored and adds the bias on its way; it wants one row dimension.
    rows: Operand = x if x.rank == 2 else g.node("Reshape", x, int64([-1, weight.shape[1]]))
    product = g.node("Gemm", rows, weight, bias, transB=1)
    return product if x.rank == 2 else g.node("Reshape", product, _with_last(g, x, weight.shape[0]))


def _with_last(g: Graph, x: Tensor, size: int) -> Operand:
    """The shape of `x` with another last size."""
    if None not in x.type.shape[:-1]:
        return int64([*x.type.shape[:-1], size])
    return g.node("Concat", g.node("Shape", x, end=-1), int64([size]), axis=0)


@OPERATIONS.operation
def matmul(g: Graph, x: Tensor, y: Tensor, *, transpose_x: bool = False, transpose_y: bool = False) -> Result:
    # From iOS 17 on, one of the two may be integers.
    is_mixed = x.is_float != y.is_float
    left, right = (cast(g, tensor, np.float32) if is_mixed and not tensor.is_float else tensor for tensor in (x, y))
    return g.node("MatMul", _swapped(g, left, x.rank, transpose_x), _swapped(g, right, y.rank, transpose_y))


def _swapped(g: Graph, x: Operand, rank: int, wanted: bool) -> Operand:
    """`x` with its last two dimensions swapped, if that is wanted."""
    if not wanted:
        return x
    return g.node("Transpose", x, perm=[*range(rank - 2), rank - 1, rank - 2])


@OPERATIONS.operation
def einsum(g: Graph, values: tuple[Tensor, ...], *, equation: str) -> Result:
    # MIL has one form of it: matrices at dimensions -3 and -1, (..., C, H, W) by (..., W, H, U) is (..., C, H, U).
    x, y = values
    if not is_product_of_matrices(equation):
        raise UnsupportedError(f"equation '{equation}' is not known")
    if x.type.shape[-2] == y.type.shape[-2] == 1:
        # In split-einsum attention each head is alone in its product: these are matrices, with nothing to transpose.
        product = g.node("MatMul", g.node("Squeeze", x, int64([-2])), g.node("Squeeze", y, int64([-2])))
        return g.node("Unsqueeze", product, int64([-2]))
    outer = list(range(x.rank - 3))
    swap = [*outer, x.rank - 2, x.rank - 3, x.rank - 1]
    product = g.node("MatMul", g.node("Transpose", x, perm=swap), g.node("Transpose", y, perm=swap))
    return g.node("Transpose", product, perm=swap)


def is_product_of_matrices(equation: str) -> bool:
    """Whether an equation is the form that MIL has, whatever its letters."""
    left, right, result = equation.replace(" ", "").replace("->", ",").split(",")
    *batch, c, h, w = list(left)
    return list(right) == [*batch, w, h, right[-1]] and list(result) == [*batch, c, h, right[-1]]


@OPERATIONS.operation
def scaled_dot_product_attention(
    g: Graph, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
) -> Result:
    width = query.type.shape[-1]
    if width is None:
        scaled = g.node("Div", query, g.node("Sqrt", cast(g, g.node("Shape", query, start=-1), np.float32)))
    else:
        scaled = g.node("Mul", query, fp32(1 / math.sqrt(width)))
    scores = g.node("MatMul", scaled, _swapped(g, key, key.rank, True))
    if attn_mask is not None:
        bias = g.node("Where", attn_mask, fp32(0.0), fp32(-np.inf)) if attn_mask.is_bool else attn_mask
        scores = g.node("Add", scores, bias)
    return g.node("MatMul", g.node("Softmax", scores, axis=-1), value)
