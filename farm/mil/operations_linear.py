"""Matrix products: linear, matmul, einsum, attention.

Definitions: `mil/ops/defs/iOS15/linear.py` and `iOS18/transformers.py` of coremltools 9.0.
"""

import math

import numpy as np

from farm.mil.graph import Graph, Operand, Result, Tensor, UnsupportedError, cast, fp32, int64
from farm.mil.table import OperationTable

OPERATIONS = OperationTable()


@OPERATIONS.operation
def linear(g: Graph, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Result:
    if not (x.is_float and weight.is_float):
        raise UnsupportedError("products of integers are not translated")
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
    """`x` with its last two dimensions swapped, if that is wanted and it has two."""
    if not wanted or rank < 2:
        return x
    return g.node("Transpose", x, perm=[*range(rank - 2), rank - 1, rank - 2])


@OPERATIONS.operation
def einsum(g: Graph, values: tuple[Tensor, ...], *, equation: str) -> Result:
    if len(values) != 2 or "." in equation:
        return g.node("Einsum", *values, equation=equation)
    terms, result = equation.replace(" ", "").split("->")
    left, right = terms.split(",")
    has_open_size = any(None in value.type.shape for value in values)
    has_diagonal = any(len(set(term)) < len(term) for term in (left, right, result))
    has_lone_sum = not (set(left) ^ set(right)) <= set(result)
    if has_open_size or has_diagonal or has_lone_sum:
        return g.node("Einsum", *values, equation=equation)
    return _product(g, values, left, right, result)


def _product(g: Graph, values: tuple[Tensor, ...], left: str, right: str, result: str) -> str:
    """A product of two tensors as one MatMul.

    Indices of size 1 are dropped first: in split-einsum attention the head index is one, and without it the operands
    are matrices already, with nothing left to transpose.
    """
    sizes = dict(zip(left + right, values[0].shape + values[1].shape, strict=True))
    batch, contracted, rows, columns = (
        "".join(index for index in order if sizes[index] > 1 and (index in left, index in right, index in result) == to)
        for order, to in (
            (result, (True, True, True)),
            (left, (True, True, False)),
            (result, (True, False, True)),
            (result, (False, True, True)),
        )
    )
    swap = result.find(columns[:1]) < result.find(rows[:1]) if rows and columns else False
    first, second = (values[1], right), (values[0], left)
    row_indices, column_indices = columns, rows
    if not swap:
        first, second = second, first
        row_indices, column_indices = rows, columns
    product = g.node(
        "MatMul",
        _matrix(g, *first, sizes, batch, row_indices, contracted),
        _matrix(g, *second, sizes, batch, contracted, column_indices),
    )
    order = batch + row_indices + column_indices
    wanted = "".join(index for index in result if sizes[index] > 1)
    if order != wanted:
        product = g.node("Reshape", product, int64([sizes[index] for index in order]))
        product = g.node("Transpose", product, perm=[order.index(index) for index in wanted])
    return g.node("Reshape", product, int64([sizes[index] for index in result]))


def _matrix(g: Graph, x: Tensor, term: str, sizes: dict[str, int], batch: str, rows: str, columns: str) -> Operand:
    """`x`, whose indices are `term`, as a stack of matrices (batch, rows, columns)."""
    present = "".join(index for index in term if sizes[index] > 1)
    order = batch + rows + columns
    current: Operand = x
    if present != order:
        if present != term:
            current = g.node("Reshape", current, int64([sizes[index] for index in present]))
        current = g.node("Transpose", current, perm=[present.index(index) for index in order])
    shape = [math.prod(sizes[index] for index in group) for group in (batch, rows, columns)]
    return current if list(x.shape) == shape and current is x else g.node("Reshape", current, int64(shape))


@OPERATIONS.operation
def scaled_dot_product_attention(
    g: Graph, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
) -> Result:
    scaled = g.node("Mul", query, fp32(1 / math.sqrt(query.shape[-1])))
    scores = g.node("MatMul", scaled, _swapped(g, key, key.rank, True))
    if attn_mask is not None:
        bias = g.node("Where", attn_mask, fp32(0.0), fp32(-np.inf)) if attn_mask.is_bool else attn_mask
        scores = g.node("Add", scores, bias)
    return g.node("MatMul", g.node("Softmax", scores, axis=-1), value)
