from collections.abc import Mapping

import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

from tests.mil.cases import Array, Case, check, results_of

rng = np.random.default_rng(1)
INPUTS: dict[str, Array] = {
    "x": rng.uniform(-3, 3, (2, 3, 4)).astype(np.float32),
    "y": rng.uniform(-3, 3, (3, 1)).astype(np.float32),
    "positive": rng.uniform(0.1, 3, (2, 3, 4)).astype(np.float32),
    "unit": rng.uniform(-0.9, 0.9, (2, 3, 4)).astype(np.float32),
    "n": rng.integers(-7, 8, (2, 3, 4)).astype(np.int32),
    "m": np.array([2, -3, 4, -5], np.int32),
    "halves": np.array([-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5], np.float32),
}
ALPHA = np.array([0.1, 0.5, 2.0], np.float32)
BETA = np.array([1.0, 0.3, 1.5], np.float32)


def per_channel(vector: Array) -> Array:
    return vector.reshape(3, 1)


def torch_of(function: object, x: Array, **arguments: object) -> Array:
    result: Array = function(torch.tensor(x), **arguments).numpy()  # type: ignore[operator]  # torch types these loosely
    return result


CASES = [
    Case("abs", lambda v: mb.abs(x=v.x), lambda a: np.abs(a.x)),
    Case("acos", lambda v: mb.acos(x=v.unit), lambda a: np.arccos(a.unit)),
    Case("asin", lambda v: mb.asin(x=v.unit), lambda a: np.arcsin(a.unit)),
    Case("atan", lambda v: mb.atan(x=v.x), lambda a: np.arctan(a.x)),
    Case("atanh", lambda v: mb.atanh(x=v.unit), lambda a: np.arctanh(a.unit)),
    Case("ceil", lambda v: mb.ceil(x=v.x), lambda a: np.ceil(a.x)),
    Case("cos", lambda v: mb.cos(x=v.x), lambda a: np.cos(a.x)),
    Case("cosh", lambda v: mb.cosh(x=v.x), lambda a: np.cosh(a.x)),
    Case("erf", lambda v: mb.erf(x=v.x), lambda a: torch_of(torch.erf, a.x)),
    Case("exp", lambda v: mb.exp(x=v.x), lambda a: np.exp(a.x)),
    Case("exp2", lambda v: mb.exp2(x=v.x), lambda a: np.exp2(a.x)),
    Case("floor", lambda v: mb.floor(x=v.x), lambda a: np.floor(a.x)),
    Case("inverse with its default epsilon", lambda v: mb.inverse(x=v.x), lambda a: 1 / (a.x + 1e-4)),
    Case("inverse with an epsilon", lambda v: mb.inverse(x=v.x, epsilon=0.5), lambda a: 1 / (a.x + 0.5)),
    Case("log", lambda v: mb.log(x=v.positive), lambda a: np.log(a.positive)),
    Case("log with an epsilon", lambda v: mb.log(x=v.positive, epsilon=0.5), lambda a: np.log(a.positive + 0.5)),
    Case("round halves to even", lambda v: mb.round(x=v.halves), lambda a: np.round(a.halves)),
    Case("rsqrt", lambda v: mb.rsqrt(x=v.positive), lambda a: 1 / np.sqrt(a.positive)),
    Case("rsqrt with an epsilon", lambda v: mb.rsqrt(x=v.positive, epsilon=0.5), lambda a: (a.positive + 0.5) ** -0.5),
    Case("sign", lambda v: mb.sign(x=v.halves), lambda a: np.sign(a.halves)),
    Case("sin", lambda v: mb.sin(x=v.x), lambda a: np.sin(a.x)),
    Case("sinh", lambda v: mb.sinh(x=v.x), lambda a: np.sinh(a.x)),
    Case("sqrt", lambda v: mb.sqrt(x=v.positive), lambda a: np.sqrt(a.positive)),
    Case("square", lambda v: mb.square(x=v.x), lambda a: a.x**2),
    Case("tan", lambda v: mb.tan(x=v.unit), lambda a: np.tan(a.unit)),
    Case("tanh", lambda v: mb.tanh(x=v.x), lambda a: np.tanh(a.x)),
    Case("threshold", lambda v: mb.threshold(x=v.x, alpha=0.5), lambda a: np.maximum(a.x, 0.5)),
    Case("clip", lambda v: mb.clip(x=v.x, alpha=-1.0, beta=2.0), lambda a: np.clip(a.x, -1, 2)),
    Case("cast to integers truncates", lambda v: mb.cast(x=v.x, dtype="int32"), lambda a: np.trunc(a.x)),
    Case("cast to bool", lambda v: mb.cast(x=v.n, dtype="bool"), lambda a: a.n != 0),
    Case("cast integers to floats", lambda v: mb.cast(x=v.n, dtype="fp32"), lambda a: a.n.astype(np.float32)),
    Case("add broadcasts", lambda v: mb.add(x=v.x, y=v.y), lambda a: a.x + a.y),
    Case("sub", lambda v: mb.sub(x=v.x, y=v.y), lambda a: a.x - a.y),
    Case("mul", lambda v: mb.mul(x=v.x, y=v.y), lambda a: a.x * a.y),
    Case("real_div", lambda v: mb.real_div(x=v.x, y=v.y), lambda a: a.x / a.y),
    Case("real_div of integers", lambda v: mb.real_div(x=v.n, y=v.m), lambda a: np.trunc(a.n / a.m)),
    Case("floor_div", lambda v: mb.floor_div(x=v.x, y=v.y), lambda a: np.floor_divide(a.x, a.y)),
    Case("floor_div of integers", lambda v: mb.floor_div(x=v.n, y=v.m), lambda a: a.n // a.m),
    Case("mod has the divisor's sign", lambda v: mb.mod(x=v.x, y=v.y), lambda a: np.mod(a.x, a.y)),
    Case("mod of integers", lambda v: mb.mod(x=v.n, y=v.m), lambda a: np.mod(a.n, a.m)),
    Case("pow", lambda v: mb.pow(x=v.positive, y=v.x), lambda a: a.positive**a.x),
    Case("maximum", lambda v: mb.maximum(x=v.x, y=v.y), lambda a: np.maximum(a.x, a.y)),
    Case("minimum", lambda v: mb.minimum(x=v.x, y=v.y), lambda a: np.minimum(a.x, a.y)),
    Case("equal", lambda v: mb.equal(x=v.n, y=v.m), lambda a: a.n == a.m),
    Case("not_equal", lambda v: mb.not_equal(x=v.n, y=v.m), lambda a: a.n != a.m),
    Case("greater", lambda v: mb.greater(x=v.n, y=v.m), lambda a: a.n > a.m),
    Case("greater_equal", lambda v: mb.greater_equal(x=v.n, y=v.m), lambda a: a.n >= a.m),
    Case("less", lambda v: mb.less(x=v.x, y=v.y), lambda a: a.x < a.y),
    Case("less_equal", lambda v: mb.less_equal(x=v.n, y=v.m), lambda a: a.n <= a.m),
    Case("logical_and", lambda v: mb.logical_and(x=above(v.x), y=above(v.unit)), lambda a: (a.x > 0) & (a.unit > 0)),
    Case("logical_or", lambda v: mb.logical_or(x=above(v.x), y=above(v.unit)), lambda a: (a.x > 0) | (a.unit > 0)),
    Case("logical_xor", lambda v: mb.logical_xor(x=above(v.x), y=above(v.unit)), lambda a: (a.x > 0) ^ (a.unit > 0)),
    Case("logical_not", lambda v: mb.logical_not(x=above(v.x)), lambda a: a.x <= 0),
    Case("select", lambda v: mb.select(cond=above(v.x), a=v.x, b=v.unit), lambda a: np.where(a.x > 0, a.x, a.unit)),
    Case(
        "clamped_relu",
        lambda v: mb.clamped_relu(x=v.x, alpha=0.2, beta=1.5),
        lambda a: np.minimum(np.where(a.x >= 0, a.x, 0.2 * a.x), 1.5),
    ),
    Case("elu", lambda v: mb.elu(x=v.x, alpha=0.7), lambda a: torch_of(torch.nn.functional.elu, a.x, alpha=0.7)),
    Case("gelu is exact by default", lambda v: mb.gelu(x=v.x), lambda a: torch_of(torch.nn.functional.gelu, a.x)),
    Case(
        "gelu by tanh",
        lambda v: mb.gelu(x=v.x, mode="TANH_APPROXIMATION"),
        lambda a: torch_of(torch.nn.functional.gelu, a.x, approximate="tanh"),
        1e-6,
    ),
    Case(
        "gelu by sigmoid",
        lambda v: mb.gelu(x=v.x, mode="SIGMOID_APPROXIMATION"),
        lambda a: a.x / (1 + np.exp(-1.702 * a.x)),
    ),
    Case("leaky_relu", lambda v: mb.leaky_relu(x=v.x, alpha=0.2), lambda a: np.where(a.x >= 0, a.x, 0.2 * a.x)),
    Case("linear_activation", lambda v: mb.linear_activation(x=v.x, alpha=0.7, beta=0.3), lambda a: 0.7 * a.x + 0.3),
    Case(
        "prelu has a slope for each channel",
        lambda v: mb.prelu(x=mb.expand_dims(x=v.x, axes=[3]), alpha=ALPHA),
        lambda a: np.where(a.x >= 0, a.x, a.x * per_channel(ALPHA))[..., None],
    ),
    Case("relu", lambda v: mb.relu(x=v.x), lambda a: np.maximum(a.x, 0)),
    Case("relu6", lambda v: mb.relu6(x=mb.mul(x=v.x, y=4.0)), lambda a: np.clip(4 * a.x, 0, 6)),
    Case("scaled_tanh", lambda v: mb.scaled_tanh(x=v.x, alpha=1.3, beta=0.6), lambda a: 1.3 * np.tanh(0.6 * a.x)),
    Case("sigmoid", lambda v: mb.sigmoid(x=v.x), lambda a: 1 / (1 + np.exp(-a.x))),
    Case(
        "sigmoid_hard", lambda v: mb.sigmoid_hard(x=v.x, alpha=0.3, beta=0.6), lambda a: np.clip(0.3 * a.x + 0.6, 0, 1)
    ),
    Case("silu", lambda v: mb.silu(x=v.x), lambda a: a.x / (1 + np.exp(-a.x))),
    Case("softplus", lambda v: mb.softplus(x=v.x), lambda a: np.log1p(np.exp(a.x))),
    Case(
        "softplus_parametric has parameters for each channel",
        lambda v: mb.softplus_parametric(x=mb.expand_dims(x=v.x, axes=[3]), alpha=ALPHA, beta=BETA),
        lambda a: (per_channel(ALPHA) * np.log1p(np.exp(per_channel(BETA) * a.x)))[..., None],
    ),
    Case("softsign", lambda v: mb.softsign(x=v.x), lambda a: a.x / (1 + np.abs(a.x))),
    Case("softmax over the last axis", lambda v: mb.softmax(x=v.x), lambda a: torch_of(torch.softmax, a.x, dim=-1)),
    Case(
        "softmax over another axis", lambda v: mb.softmax(x=v.x, axis=1), lambda a: torch_of(torch.softmax, a.x, dim=1)
    ),
    Case(
        "thresholded_relu",
        lambda v: mb.thresholded_relu(x=v.halves, alpha=1.5),
        lambda a: np.where(a.halves >= 1.5, a.halves, 0),
    ),
]


def above(x: object) -> object:
    return mb.greater(x=x, y=0.0)


@pytest.fixture(scope="module")
def results() -> dict[str, Array]:
    return results_of(CASES, INPUTS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_elementwise_operation_computes_what_numpy_and_torch_do(case: Case, results: Mapping[str, Array]) -> None:
    check(case, results, INPUTS)
