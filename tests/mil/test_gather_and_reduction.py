from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

from tests.mil.cases import Array, Case, check, results_of

rng = np.random.default_rng(3)
INPUTS: dict[str, Array] = {
    "x": rng.standard_normal((2, 3, 4)).astype(np.float32),
    "positive": rng.uniform(0.5, 2, (2, 3, 4)).astype(np.float32),
    "n": rng.integers(-3, 4, (2, 3, 4)).astype(np.int32),
    "rows": np.array([[1, 0], [2, -1]], np.int32),
    "some": np.array([2, 0], np.int32),
    "points": np.array([[1, 2], [0, 1], [1, 2]], np.int32),
    "along": rng.integers(0, 3, (2, 2, 4)).astype(np.int32),
    "update": rng.uniform(1, 2, (2, 2, 4)).astype(np.float32),
    "vectors": rng.uniform(1, 2, (3, 4)).astype(np.float32),
    "volume": rng.standard_normal((2, 2, 3, 4)).astype(np.float32),
    "batched": np.array([[2, 0], [1, 3]], np.int32),
}

OPERATORS: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "max": np.maximum, "min": np.minimum,
    "update": lambda _, new: new,
}  # fmt: skip


def scattered(data: Array, indices: Array, updates: Array, axis: int, mode: str) -> Array:
    result = np.moveaxis(data.copy(), axis, 0)
    moved = np.moveaxis(updates, axis, 0)
    for position, update in zip(indices, moved, strict=True):
        result[position] = OPERATORS[mode](result[position], update)
    return np.moveaxis(result, 0, axis)


def scattered_points(data: Array, points: Array, updates: Array, mode: str) -> Array:
    result = data.copy()
    for point, update in zip(points, updates, strict=True):
        result[tuple(point)] = OPERATORS[mode](result[tuple(point)], update)
    return result


def scattered_along(data: Array, indices: Array, updates: Array, mode: str) -> Array:
    result = data.copy()
    for i, j, k in np.ndindex(*indices.shape):
        position = (i, indices[i, j, k], k)
        result[position] = OPERATORS[mode](result[position], updates[i, j, k])
    return result


def scatter_case(mode: str) -> Case:
    return Case(
        f"scatter on an inner axis, {mode}",
        lambda v: mb.scatter(data=v.x, indices=v.some, updates=v.update, axis=1, mode=mode),
        lambda a: scattered(a.x, a.some, a.update, 1, mode),
    )


GATHERING = [
    Case("gather rows by default", lambda v: mb.gather(x=v.vectors, indices=v.some), lambda a: a.vectors[a.some]),
    Case(
        "gather along an axis, from the end too",
        lambda v: mb.gather(x=v.x, indices=v.rows, axis=1),
        lambda a: a.x[:, a.rows],
    ),
    Case(
        "gather in batches",
        lambda v: mb.gather(x=v.x, indices=v.batched, axis=2, batch_dims=1),
        lambda a: np.stack([a.x[i][:, a.batched[i]] for i in range(2)]),
    ),
    Case(
        "gather in batches right behind them",
        lambda v: mb.gather(x=v.volume, indices=mb.minimum(x=v.batched, y=1), axis=1, batch_dims=1),
        lambda a: np.stack([a.volume[i][np.minimum(a.batched[i], 1)] for i in range(2)]),
    ),
    Case(
        "gather_along_axis",
        lambda v: mb.gather_along_axis(x=v.x, indices=v.along, axis=1),
        lambda a: np.take_along_axis(a.x, a.along, 1),
    ),
    Case("gather_nd", lambda v: mb.gather_nd(x=v.x, indices=v.points), lambda a: a.x[a.points[:, 0], a.points[:, 1]]),
    Case(
        "gather_nd in batches",
        lambda v: mb.gather_nd(x=v.x, indices=mb.expand_dims(x=mb.minimum(x=v.batched, y=2), axes=[2]), batch_dims=1),
        lambda a: np.stack([a.x[i][np.minimum(a.batched[i], 2)] for i in range(2)]),
    ),
    *[scatter_case(mode) for mode in OPERATORS],
    Case(
        "scatter adds to the first axis by default",
        lambda v: mb.scatter(
            data=v.vectors, indices=v.some, updates=mb.slice_by_size(x=v.vectors, begin=[0, 0], size=[2, 4])
        ),
        lambda a: scattered(a.vectors, a.some, a.vectors[:2], 0, "add"),
    ),
    Case(
        "scatter_along_axis",
        lambda v: mb.scatter_along_axis(data=v.x, indices=v.along, updates=v.update, axis=1, mode="add"),
        lambda a: scattered_along(a.x, a.along, a.update, "add"),
    ),
    Case(
        "scatter_nd adds up where points repeat",
        lambda v: mb.scatter_nd(data=v.x, indices=v.points, updates=v.vectors),
        lambda a: scattered_points(a.x, a.points, a.vectors, "add"),
    ),
    Case(
        "scatter_nd, sub",
        lambda v: mb.scatter_nd(data=v.x, indices=v.points, updates=v.vectors, mode="sub"),
        lambda a: scattered_points(a.x, a.points, a.vectors, "sub"),
    ),
]

REDUCING = [
    Case("reduce_l1_norm", lambda v: mb.reduce_l1_norm(x=v.x, axes=[1]), lambda a: np.abs(a.x).sum(1)),
    Case("reduce_l2_norm", lambda v: mb.reduce_l2_norm(x=v.x, axes=[0, 2]), lambda a: np.sqrt((a.x**2).sum((0, 2)))),
    Case("reduce_log_sum", lambda v: mb.reduce_log_sum(x=v.positive, axes=[-1]), lambda a: np.log(a.positive.sum(-1))),
    Case("reduce_log_sum_exp", lambda v: mb.reduce_log_sum_exp(x=v.x, axes=[1]), lambda a: np.log(np.exp(a.x).sum(1))),
    Case("reduce_max", lambda v: mb.reduce_max(x=v.x, axes=[1]), lambda a: a.x.max(1)),
    Case(
        "reduce_mean keeps dimensions",
        lambda v: mb.reduce_mean(x=v.x, axes=[-2], keep_dims=True),
        lambda a: a.x.mean(1, keepdims=True),
    ),
    Case("reduce_mean over everything by default", lambda v: mb.reduce_mean(x=v.x), lambda a: a.x.mean()),
    Case("reduce_min", lambda v: mb.reduce_min(x=v.n, axes=[2]), lambda a: a.n.min(2)),
    Case("reduce_prod", lambda v: mb.reduce_prod(x=v.x, axes=[2]), lambda a: a.x.prod(2)),
    Case("reduce_sum", lambda v: mb.reduce_sum(x=v.x, axes=[0]), lambda a: a.x.sum(0)),
    Case("reduce_sum_square", lambda v: mb.reduce_sum_square(x=v.x, axes=[1]), lambda a: (a.x**2).sum(1)),
    Case("reduce_argmax", lambda v: mb.reduce_argmax(x=v.x, axis=1), lambda a: a.x.argmax(1)),
    Case(
        "reduce_argmax over the last axis by default",
        lambda v: mb.reduce_argmax(x=v.x, keep_dims=True),
        lambda a: a.x.argmax(-1)[..., None],
    ),
    Case("reduce_argmin", lambda v: mb.reduce_argmin(x=v.x, axis=1), lambda a: a.x.argmin(1)),
    Case(
        "topk", lambda v: mb.topk(x=v.x, k=2, axis=1)[0], lambda a: torch.topk(torch.tensor(a.x), 2, 1).values.numpy()
    ),
    Case(
        "topk's positions, of the smallest",
        lambda v: mb.topk(x=v.x, k=3, axis=-1, ascending=True)[1],
        lambda a: a.x.argsort(-1)[..., :3],
    ),
    Case(
        "topk without positions",
        lambda v: mb.topk(x=v.x, k=1, return_indices=False),
        lambda a: a.x.max(-1, keepdims=True),
    ),
    Case("argsort is descending by default", lambda v: mb.argsort(x=v.x), lambda a: (-a.x).argsort(-1)),
    Case("argsort ascending", lambda v: mb.argsort(x=v.x, axis=1, ascending=True), lambda a: a.x.argsort(1)),
    Case("cumsum", lambda v: mb.cumsum(x=v.x, axis=1), lambda a: a.x.cumsum(1)),
    Case(
        "cumsum, exclusive and reversed",
        lambda v: mb.cumsum(x=v.x, axis=2, exclusive=True, reverse=True),
        lambda a: a.x[..., ::-1].cumsum(-1)[..., ::-1] - a.x,
    ),
    Case("non_zero", lambda v: mb.non_zero(x=v.n), lambda a: np.argwhere(a.n)),
]
CASES = GATHERING + REDUCING


@pytest.fixture(scope="module")
def results() -> dict[str, Array]:
    return results_of(CASES, INPUTS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_operation_at_positions_or_over_axes_computes_what_numpy_does(
    case: Case, results: Mapping[str, Array]
) -> None:
    check(case, results, INPUTS)
