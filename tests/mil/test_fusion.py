from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

from farm.mil.fusion import fuse
from farm.mil.program import Function, Operation
from farm.runtime.portable import load
from tests.mil.cases import Array, convert
from tests.mil.packages import read_program

BATCH, CHANNELS, QUERIES, TOKENS, HEADS = 2, 3, 7, 5, 4
SCALE = 0.3


def random_inputs(queries: int = QUERIES, tokens: int = TOKENS) -> dict[str, Array]:
    rng = np.random.default_rng(5)
    sizes = {"query": queries, "key": tokens, "value": tokens}
    return {n: rng.standard_normal((BATCH, HEADS * CHANNELS, 1, s)).astype(np.float32) for n, s in sizes.items()}


def per_head_attention(
    order: Sequence[int] = range(HEADS), scales: Sequence[float] = (SCALE,) * HEADS
) -> Callable[..., Any]:
    def body(query: Any, key: Any, value: Any) -> Any:
        queries, values = (mb.split(x=x, num_splits=HEADS, axis=1) for x in (query, value))
        keys = mb.split(x=mb.transpose(x=key, perm=[0, 3, 2, 1]), num_splits=HEADS, axis=3)
        outputs = []
        for head, scale in zip(order, scales, strict=True):
            products = mb.einsum(values=[keys[head], queries[head]], equation="bkhc,bchq->bkhq")
            weights = mb.softmax(x=mb.mul(x=products, y=np.float32(scale)), axis=1)
            outputs.append(mb.einsum(values=[values[head], weights], equation="bchk,bkhq->bchq"))
        return mb.concat(values=outputs, axis=1, name="y")

    return body


def attention(inputs: dict[str, Array], order: Sequence[int], scales: Sequence[float]) -> Array:
    q, k, v = (x.reshape(BATCH, HEADS, CHANNELS, -1)[:, list(order)] for x in inputs.values())
    scores = np.exp(np.einsum("bhcq,bhck->bhqk", q, k) * np.reshape(scales, (1, -1, 1, 1)))
    weights = scores / scores.sum(axis=-1, keepdims=True)
    return np.asarray(np.einsum("bhck,bhqk->bhcq", v, weights).reshape(BATCH, HEADS * CHANNELS, 1, -1))


def save(path: Path, body: Callable[..., Any], inputs: dict[str, Array]) -> Path:
    convert(body, inputs).save(str(path))
    return path


def fused(package: Path) -> Function:
    program = read_program(package)
    return fuse(program.functions[program.main])


def kinds(operations: Sequence[Operation]) -> Counter[str]:
    return Counter(operation.type for operation in operations)


def test_the_heads_of_an_attention_are_computed_together(tmp_path: Path) -> None:
    package = save(tmp_path / "heads.mlpackage", per_head_attention(), random_inputs())
    found = kinds(fused(package).operations)
    assert found == Counter(reshape=4, matmul=2, mul=1, softmax=1)


def test_heads_that_are_computed_together_give_what_each_gives_by_itself(tmp_path: Path) -> None:
    inputs = random_inputs()
    package = save(tmp_path / "heads.mlpackage", per_head_attention(), inputs)
    expected = attention(inputs, range(HEADS), (SCALE,) * HEADS)
    np.testing.assert_allclose(load(package, threads=1).predict(inputs)["y"], expected, rtol=1e-5, atol=1e-6)


def test_heads_in_another_order_or_of_unlike_scales_stay_apart_and_come_out_right(tmp_path: Path) -> None:
    inputs = random_inputs()
    same, turned = (SCALE,) * HEADS, (0, 2, 1, 3)
    for number, (order, scales) in enumerate([(turned, same), (range(HEADS), (0.3, 0.3, 0.2, 0.3))]):
        package = save(tmp_path / f"{number}.mlpackage", per_head_attention(order, scales), inputs)
        assert kinds(fused(package).operations)["softmax"] == HEADS
        result = load(package, threads=1).predict(inputs)["y"]
        np.testing.assert_allclose(result, attention(inputs, order, scales), rtol=1e-5, atol=1e-6)


def test_heads_whose_scores_would_fill_the_memory_stay_apart(tmp_path: Path) -> None:
    package = save(tmp_path / "large.mlpackage", per_head_attention(), random_inputs(queries=4096, tokens=1024))
    assert kinds(fused(package).operations)["softmax"] == HEADS


def test_what_else_needs_a_part_of_an_attention_still_gets_it(tmp_path: Path) -> None:
    inputs = random_inputs()

    def body(query: Any, key: Any, value: Any) -> list[Any]:
        y = per_head_attention()(query, key, value)
        first_products = y.op.values[0].op.values[1].op.x
        return [y, mb.identity(x=first_products, name="scores")]

    results = load(save(tmp_path / "shared.mlpackage", body, inputs), threads=1).predict(inputs)
    q, k = (inputs[name][:, :CHANNELS, 0] for name in ("query", "key"))
    np.testing.assert_allclose(results["scores"][:, :, 0], SCALE * np.einsum("bcq,bck->bkq", q, k), atol=1e-5)
    np.testing.assert_allclose(results["y"], attention(inputs, range(HEADS), (SCALE,) * HEADS), rtol=1e-5, atol=1e-6)


def group_normalisation(epsilon: float, axes_of_variance: Sequence[int]) -> Callable[..., Any]:
    def body(x: Any) -> Any:
        centred = mb.sub(x=x, y=mb.reduce_mean(x=x, axes=[2, 3], keep_dims=True))
        variance = mb.reduce_mean(x=mb.square(x=centred), axes=list(axes_of_variance), keep_dims=True)
        return mb.real_div(x=centred, y=mb.sqrt(x=mb.add(x=variance, y=np.float32(epsilon))), name="y")

    return body


def test_a_normalisation_in_seven_operations_becomes_one_that_computes_the_same(tmp_path: Path) -> None:
    x = np.random.default_rng(6).standard_normal((2, 3, 4, 5)).astype(np.float32)
    package = save(tmp_path / "norm.mlpackage", group_normalisation(0.1, (2, 3)), {"x": x})
    assert kinds(fused(package).operations) == Counter(layer_norm=1)
    expected = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 0.1)
    np.testing.assert_allclose(load(package, threads=1).predict({"x": x})["y"], expected, rtol=1e-5, atol=1e-6)


def test_a_division_by_another_deviation_than_that_of_the_mean_is_left_as_it_is(tmp_path: Path) -> None:
    x = np.ones((2, 3, 4, 5), np.float32)
    package = save(tmp_path / "other.mlpackage", group_normalisation(0.1, (1, 2)), {"x": x})
    assert kinds(fused(package).operations)["reduce_mean"] == 2
