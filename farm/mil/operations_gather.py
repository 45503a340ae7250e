"""Operations that read or write at computed positions.

Definitions: `mil/ops/defs/iOS15/scatter_gather.py` of coremltools 9.0, with iOS 16 (batch_dims) and 17. Positions count
from the end where they are negative; others outside are undefined in MIL and an error here.
"""

from farm.mil.graph import Graph, Operand, Result, Tensor, UnsupportedError, fp32, indices, int64
from farm.mil.table import OperationTable

OPERATIONS = OperationTable()


@OPERATIONS.operation
def gather(
    g: Graph,
    x: Tensor,
    indices_: Tensor,
    *,
    axis: int = 0,
    batch_dims: int = 0,
    _validate_indices: bool = False,
) -> Result:
    axis %= x.rank
    if batch_dims == 0:
        return g.node("Gather", x, indices(g, indices_), axis=axis)
    # GatherND reads at the dimension behind the batch: bring the axis there, and what was between behind the result.
    between = list(range(batch_dims, axis))
    behind = list(range(axis + 1, x.rank))
    source = g.node("Transpose", x, perm=[*range(batch_dims), axis, *between, *behind]) if between else x
    found = g.node("GatherND", source, g.node("Unsqueeze", indices(g, indices_), int64([-1])), batch_dims=batch_dims)
    if not between:
        return found
    picked = list(range(batch_dims, indices_.rank))
    moved = [indices_.rank + i for i in range(len(between))]
    rest = [indices_.rank + len(between) + i for i in range(len(behind))]
    return g.node("Transpose", found, perm=[*range(batch_dims), *moved, *picked, *rest])


@OPERATIONS.operation
def gather_along_axis(
    g: Graph, x: Tensor, indices_: Tensor, *, axis: int = 0, _validate_indices: bool = False
) -> Result:
    return g.node("GatherElements", x, indices(g, indices_), axis=axis)


@OPERATIONS.operation
def gather_nd(g: Graph, x: Tensor, indices_: Tensor, *, batch_dims: int = 0, _validate_indices: bool = False) -> Result:
    return g.node("GatherND", x, indices(g, indices_), batch_dims=batch_dims)


@OPERATIONS.operation
def scatter(
    g: Graph,
    data: Tensor,
    indices_: Tensor,
    updates: Tensor,
    *,
    axis: int = 0,
    mode: str = "add",
    _validate_indices: bool = False,
) -> Result:
    axis %= data.rank
    reduction, change = _reduction(g, mode, updates)
    positions = g.node("Unsqueeze", indices(g, indices_), int64([-1]))
    if axis == 0:
        return g.node("ScatterND", data, positions, change, reduction=reduction)
    # ScatterND writes along the first dimension: bring the axis, and the positions' dimensions, to the front.
    picked = list(range(axis, axis + indices_.rank))
    first = [*picked, *(i for i in range(updates.rank) if i not in picked)]
    forward = [axis, *(i for i in range(data.rank) if i != axis)]
    written = g.node(
        "ScatterND",
        g.node("Transpose", data, perm=forward),
        positions,
        g.node("Transpose", change, perm=first),
        reduction=reduction,
    )
    return g.node("Transpose", written, perm=[forward.index(i) for i in range(data.rank)])


@OPERATIONS.operation
def scatter_along_axis(
    g: Graph,
    data: Tensor,
    indices_: Tensor,
    updates: Tensor,
    *,
    axis: int = 0,
    mode: str = "add",
    _validate_indices: bool = False,
) -> Result:
    reduction, change = _reduction(g, mode, updates)
    return g.node("ScatterElements", data, indices(g, indices_), change, axis=axis, reduction=reduction)


@OPERATIONS.operation
def scatter_nd(
    g: Graph,
    data: Tensor,
    indices_: Tensor,
    updates: Tensor,
    *,
    mode: str = "add",
    _validate_indices: bool = False,
) -> Result:
    reduction, change = _reduction(g, mode, updates)
    return g.node("ScatterND", data, indices(g, indices_), change, reduction=reduction)


def _reduction(g: Graph, mode: str, updates: Tensor) -> tuple[str, Operand]:
    """ONNX's reduction for a mode, and the updates that go with it."""
    if mode == "sub":
        return "add", g.node("Neg", updates)
    if mode == "div" and updates.is_float:
        return "mul", g.node("Div", fp32(1.0), updates)
    reductions = {"update": "none", "add": "add", "mul": "mul", "max": "max", "min": "min"}
    if mode not in reductions:
        raise UnsupportedError(f"mode '{mode}' on {updates.type.dtype} values is not known")
    return reductions[mode], updates
