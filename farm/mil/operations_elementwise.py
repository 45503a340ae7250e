"""Operations on elements: arithmetic, comparison, logic, activations, conversion.

Formulas and defaults: the operation definitions of coremltools 9.0 (`mil/ops/defs/iOS15/elementwise_*.py`,
`activation.py`), with the additions of iOS 17.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from farm.mil.graph import (
    Graph,
    Operand,
    Result,
    Tensor,
    UnsupportedError,
    cast,
    fp32,
    graph_type,
)
from farm.mil.table import OperationTable

OPERATIONS = OperationTable()

_UNARY = {
    "abs": "Abs", "acos": "Acos", "asin": "Asin", "atan": "Atan", "atanh": "Atanh", "cos": "Cos", "cosh": "Cosh",
    "erf": "Erf", "exp": "Exp", "relu": "Relu", "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin", "sinh": "Sinh",
    "softplus": "Softplus", "softsign": "Softsign", "sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh",
}  # fmt: skip
_ROUNDING = {"ceil": "Ceil", "floor": "Floor", "round": "Round"}
_BINARY = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "pow": "Pow", "maximum": "Max", "minimum": "Min", "equal": "Equal",
    "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less", "less_equal": "LessOrEqual",
    "logical_and": "And", "logical_or": "Or", "logical_xor": "Xor",
}  # fmt: skip


def _unary(kind: str, g: Graph, x: Tensor) -> Result:
    return g.node(kind, x)


def _rounding(kind: str, g: Graph, x: Tensor) -> Result:
    return g.node(kind, x) if x.is_float else x


def _binary(kind: str, g: Graph, x: Tensor, y: Tensor) -> Result:
    return g.node(kind, x, y)


for _family, _translator in ((_UNARY, _unary), (_ROUNDING, _rounding), (_BINARY, _binary)):
    for _name, _kind in _family.items():
        OPERATIONS.add(_name, functools.partial(_translator, _kind))


def _constant(x: Tensor, value: float) -> NDArray[np.generic]:
    """A constant of the type that `x` has in the graph."""
    return np.asarray(value, graph_type(x.type.dtype))


# Arithmetic


@OPERATIONS.operation
def real_div(g: Graph, x: Tensor, y: Tensor) -> Result:
    # Integers are divided towards zero, as ONNX's Div does.
    return g.node("Div", x, y)


@OPERATIONS.operation
def floor_div(g: Graph, x: Tensor, y: Tensor) -> Result:
    if x.is_float:
        return g.node("Floor", g.node("Div", x, y))
    # ONNX divides integers towards zero: take the remainder away first, and nothing is left to round.
    return g.node("Div", g.node("Sub", x, g.node("Mod", x, y)), y)


@OPERATIONS.operation
def mod(g: Graph, x: Tensor, y: Tensor) -> Result:
    if not x.is_float:
        return g.node("Mod", x, y)
    return g.node("Sub", x, g.node("Mul", g.node("Floor", g.node("Div", x, y)), y))


@OPERATIONS.operation
def not_equal(g: Graph, x: Tensor, y: Tensor) -> Result:
    return g.node("Not", g.node("Equal", x, y))


@OPERATIONS.operation
def logical_not(g: Graph, x: Tensor) -> Result:
    return g.node("Not", x)


@OPERATIONS.operation
def select(g: Graph, cond: Tensor, a: Tensor, b: Tensor) -> Result:
    return g.node("Where", cond, a, b)


@OPERATIONS.operation
def cond(g: Graph, pred: Tensor) -> list[str]:
    then_branch, else_branch = g.branches
    return g.nodes_of("If", pred, outputs=len(g.results), then_branch=then_branch, else_branch=else_branch)


@OPERATIONS.operation
def square(g: Graph, x: Tensor) -> Result:
    return g.node("Mul", x, x)


@OPERATIONS.operation
def exp2(g: Graph, x: Tensor) -> Result:
    return g.node("Pow", fp32(2.0), x)


@OPERATIONS.operation
def log(g: Graph, x: Tensor, *, epsilon: float = 1e-45) -> Result:
    return g.node("Log", g.node("Add", x, fp32(epsilon)))


@OPERATIONS.operation
def rsqrt(g: Graph, x: Tensor, *, epsilon: float = 1e-12) -> Result:
    return g.node("Reciprocal", g.node("Sqrt", g.node("Add", x, fp32(epsilon))))


@OPERATIONS.operation
def inverse(g: Graph, x: Tensor, *, epsilon: float = 1e-4) -> Result:
    return g.node("Reciprocal", g.node("Add", x, fp32(epsilon)))


@OPERATIONS.operation
def clip(g: Graph, x: Tensor, *, alpha: float, beta: float) -> Result:
    return g.node("Clip", x, _constant(x, alpha), _constant(x, beta))


@OPERATIONS.operation
def threshold(g: Graph, x: Tensor, *, alpha: float) -> Result:
    return g.node("Max", x, _constant(x, alpha))


@OPERATIONS.operation
def cast_(g: Graph, x: Tensor, *, dtype: str) -> Result:
    target = graph_type(dtype)
    return x if graph_type(x.type.dtype) is target else cast(g, x, target)


# Activations


@OPERATIONS.operation
def clamped_relu(g: Graph, x: Tensor, *, alpha: float, beta: float) -> Result:
    return g.node("Min", g.node("LeakyRelu", x, alpha=alpha), fp32(beta))


@OPERATIONS.operation
def elu(g: Graph, x: Tensor, *, alpha: float) -> Result:
    return g.node("Elu", x, alpha=alpha)


@OPERATIONS.operation
def gelu(g: Graph, x: Tensor, *, mode: str = "EXACT") -> Result:
    if mode == "SIGMOID_APPROXIMATION":
        return g.node("Mul", x, g.node("Sigmoid", g.node("Mul", x, fp32(1.702))))
    if mode == "TANH_APPROXIMATION":
        return g.node("Gelu", x, approximate="tanh")
    if mode == "EXACT":
        return g.node("Gelu", x)
    raise UnsupportedError(f"mode '{mode}' is not known")


@OPERATIONS.operation
def leaky_relu(g: Graph, x: Tensor, *, alpha: float) -> Result:
    return g.node("LeakyRelu", x, alpha=alpha)


@OPERATIONS.operation
def linear_activation(g: Graph, x: Tensor, *, alpha: float, beta: float) -> Result:
    return g.node("Add", g.node("Mul", x, fp32(alpha)), fp32(beta))


@OPERATIONS.operation
def prelu(g: Graph, x: Tensor, alpha: Tensor) -> Result:
    return g.node("PRelu", x, _per_channel(alpha, x))


@OPERATIONS.operation
def relu6(g: Graph, x: Tensor) -> Result:
    return g.node("Clip", x, fp32(0.0), fp32(6.0))


@OPERATIONS.operation
def scaled_tanh(g: Graph, x: Tensor, *, alpha: float, beta: float) -> Result:
    return g.node("Mul", g.node("Tanh", g.node("Mul", x, fp32(beta))), fp32(alpha))


@OPERATIONS.operation
def sigmoid_hard(g: Graph, x: Tensor, *, alpha: float, beta: float) -> Result:
    return g.node("HardSigmoid", x, alpha=alpha, beta=beta)


@OPERATIONS.operation
def silu(g: Graph, x: Tensor) -> Result:
    return g.node("Mul", x, g.node("Sigmoid", x))


@OPERATIONS.operation
def softmax(g: Graph, x: Tensor, *, axis: int = -1) -> Result:
    return g.node("Softmax", x, axis=axis)


@OPERATIONS.operation
def softplus_parametric(g: Graph, x: Tensor, alpha: Tensor, beta: Tensor) -> Result:
    scaled = g.node("Mul", x, _per_channel(beta, x))
    return g.node("Mul", g.node("Softplus", scaled), _per_channel(alpha, x))


@OPERATIONS.operation
def thresholded_relu(g: Graph, x: Tensor, *, alpha: float) -> Result:
    return g.node("Where", g.node("GreaterOrEqual", x, fp32(alpha)), x, fp32(0.0))


def _per_channel(vector: Tensor, x: Tensor) -> Operand:
    """A vector over channels, the second dimension of `x`, in a shape that broadcasts with it."""
    return vector.value().reshape(-1, *[1] * (x.rank - 2))
