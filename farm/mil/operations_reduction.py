"""Operations that reduce dimensions, or order and accumulate along one.

Definitions: `mil/ops/defs/iOS15/reduction.py` and `tensor_operation.py` of coremltools 9.0, with iOS 16 and 17.
"""

import functools

import numpy as np

from farm.mil.graph import Graph, Result, Tensor, cast, int64
from farm.mil.table import OperationTable

OPERATIONS = OperationTable()

_REDUCTIONS = {
    "reduce_l1_norm": "ReduceL1", "reduce_l2_norm": "ReduceL2", "reduce_log_sum": "ReduceLogSum",
    "reduce_log_sum_exp": "ReduceLogSumExp", "reduce_max": "ReduceMax", "reduce_mean": "ReduceMean",
    "reduce_min": "ReduceMin", "reduce_prod": "ReduceProd", "reduce_sum": "ReduceSum",
    "reduce_sum_square": "ReduceSumSquare",
}  # fmt: skip


def _reduce(kind: str, g: Graph, x: Tensor, *, axes: list[int] | None = None, keep_dims: bool = False) -> Result:
    return g.node(kind, x, None if axes is None else int64(axes), keepdims=int(keep_dims))


for _name, _kind in _REDUCTIONS.items():
    OPERATIONS.add(_name, functools.partial(_reduce, _kind))


@OPERATIONS.operation
def reduce_argmax(
    g: Graph, x: Tensor, *, axis: int = -1, keep_dims: bool = False, _output_dtype: str = "int32"
) -> Result:
    return cast(g, g.node("ArgMax", x, axis=axis, keepdims=int(keep_dims)), np.int32)


@OPERATIONS.operation
def reduce_argmin(
    g: Graph, x: Tensor, *, axis: int = -1, keep_dims: bool = False, _output_dtype: str = "int32"
) -> Result:
    return cast(g, g.node("ArgMin", x, axis=axis, keepdims=int(keep_dims)), np.int32)


@OPERATIONS.operation
def topk(
    g: Graph,
    x: Tensor,
    *,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    _output_indices_dtype: str = "int32",
) -> list[Result]:
    values, positions = g.nodes_of(
        "TopK", x, int64([k]), outputs=2, axis=axis, largest=int(not ascending), sorted=int(sort)
    )
    return [values, cast(g, positions, np.int32)] if return_indices else [values]


@OPERATIONS.operation
def argsort(g: Graph, x: Tensor, *, axis: int = -1, ascending: bool = False) -> Result:
    _, positions = g.nodes_of("TopK", x, int64([x.shape[axis]]), outputs=2, axis=axis, largest=int(not ascending))
    return cast(g, positions, np.int32)


@OPERATIONS.operation
def cumsum(g: Graph, x: Tensor, *, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Result:
    return g.node("CumSum", x, int64(axis), exclusive=int(exclusive), reverse=int(reverse))


@OPERATIONS.operation
def non_zero(g: Graph, x: Tensor) -> Result:
    return cast(g, g.node("Transpose", g.node("NonZero", x), perm=[1, 0]), np.int32)
