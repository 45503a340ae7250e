"""Puts together what converters take apart, before a program is translated.

The Neural Engine likes many small operations; a processor spends its time between them. Two things are put together,
each in fewer operations of MIL that compute the same:
- SPLIT_EINSUM attention, a chain of operations for each head, becomes one chain for all heads;
- normalisation of groups of channels, seven operations, becomes a `layer_norm`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.mil.operations_linear import is_product_of_matrices
from farm.mil.program import Argument, Function, Operation, Value, ValueType
from farm.mil.weights import Constant

_FUSED_ELEMENTS = 1 << 24
"""Scores that the heads of an attention may have together, 64 MB in fp32. With more it stays as it is, head by head,
and needs no more memory than it did."""


def fuse(function: Function) -> Function:
    """The same function in fewer operations, without those that nothing needs any more."""
    values = _Values(function)
    found = [_match(values, operation) for operation in function.operations]
    if not any(found):
        return function
    operations = [new for old, fused in zip(function.operations, found, strict=True) for new in fused or (old,)]
    return replace(function, operations=_needed(operations, function.outputs))


def _match(values: "_Values", operation: Operation) -> tuple[Operation, ...]:
    """What a pattern that ends in `operation` can become; nothing if there is none."""
    pattern = _PATTERNS.get(operation.type)
    if pattern is None:
        return ()
    try:
        return pattern(values, operation)
    except (_MismatchError, KeyError, ValueError):  # the last two: a parameter is not given, or given several times
        return ()


def _needed(operations: Sequence[Operation], outputs: Sequence[str]) -> tuple[Operation, ...]:
    """The operations that others or the outputs depend on."""
    used = set(outputs)
    kept = []
    for operation in reversed(operations):
        if any(value.name in used for value in operation.outputs):
            kept.append(operation)
            used.update(_names(operation))
    return tuple(reversed(kept))


def _names(operation: Operation) -> Iterator[str]:
    """Names of the values that an operation takes, also those inside of it."""
    for arguments in operation.inputs.values():
        yield from (argument for argument in arguments if isinstance(argument, str))
    for block in operation.blocks:
        yield from block.outputs
        for inner in block.operations:
            yield from _names(inner)


class _MismatchError(Exception):
    """The operations do not follow the pattern."""


def _require(holds: bool) -> None:
    if not holds:
        raise _MismatchError


class _Values:
    """Knows where each value of a function comes from. What is not as asked for raises `_MismatchError`."""

    def __init__(self, function: Function) -> None:
        self._made: Mapping[str, tuple[Operation, int]] = {
            value.name: (operation, position)
            for operation in function.operations
            for position, value in enumerate(operation.outputs)
        }

    def is_made_by(self, kind: str, argument: Argument) -> bool:
        """Whether an argument is what an operation of that kind gives."""
        return isinstance(argument, str) and argument in self._made and self._made[argument][0].type == kind

    def made_by(self, kind: str, argument: Argument) -> tuple[Operation, int]:
        """The operation of that kind that makes a value, and which of its outputs the value is."""
        _require(self.is_made_by(kind, argument))
        assert isinstance(argument, str)
        return self._made[argument]

    def constant(self, arguments: Sequence[Argument]) -> NDArray[Any]:
        """The value of a parameter that is constant."""
        (argument,) = arguments
        if isinstance(argument, str):
            (argument,) = self.made_by("const", argument)[0].inputs["val"]
        _require(isinstance(argument, Constant))
        assert isinstance(argument, Constant)
        return argument.array()


def _literal(dtype: str, value: object) -> Constant:
    array = np.asarray(value)
    return Constant(dtype, array.shape, array.ravel())


# Attention


@dataclass(frozen=True, slots=True)
class _Part:
    """One of the equal parts that a value of four dimensions was split into."""

    whole: str
    position: int
    parts: int
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class _Head:
    """What one head computes with: query and value (batch, channels, 1, tokens), key (batch, tokens, 1, channels)."""

    query: _Part
    key: _Part
    value: _Part
    scale: float

    def sibling(self, position: int, parts: int) -> "_Head":
        """The head at another position among so many."""
        query, key, value = (replace(p, position=position, parts=parts) for p in (self.query, self.key, self.value))
        return _Head(query, key, value, self.scale)


def _attention(values: _Values, concat: Operation) -> tuple[Operation, ...]:
    heads = [_head(values, argument) for argument in concat.inputs["values"]]
    _require(int(values.constant(concat.inputs["axis"])) in (1, -3))
    _require("interleave" not in concat.inputs or not values.constant(concat.inputs["interleave"]))
    first, count = heads[0], len(heads)
    _require(all(head == first.sibling(number, count) for number, head in enumerate(heads)))
    batch, channels, one, queries = first.query.shape
    tokens = first.value.shape[3]
    _require(one == 1 and first.key.shape == (batch, tokens, 1, channels))
    if batch is None or channels is None or queries is None or tokens is None:
        return ()
    if batch * count * queries * tokens > _FUSED_ELEMENTS:
        return ()
    turned, _ = values.made_by("transpose", first.key.whole)
    _require(values.constant(turned.inputs["perm"]).tolist() == [0, 3, 2, 1])
    keys = turned.inputs["x"][0]
    return _all_heads(concat, first, keys, (batch, count, channels, queries), (batch, count, channels, tokens))


def _all_heads(
    concat: Operation, head: _Head, keys: Argument, query: tuple[int, ...], key: tuple[int, ...]
) -> tuple[Operation, ...]:
    """The attention of all heads at once.

    Args:
        concat: What put the heads together.
        head: The first of them.
        keys: The keys of all, before they were turned.
        query: (batch, heads, channels, queries).
        key: (batch, heads, channels, tokens).
    """
    made: list[Operation] = []
    (result,) = concat.outputs

    def add(kind: str, stem: str, sizes: tuple[int, ...], **inputs: Argument) -> str:
        value = Value(f"{result.name}:{stem}", ValueType(result.type.dtype, sizes))  # a colon is in no name of MIL
        made.append(Operation(kind, concat.name, {name: (given,) for name, given in inputs.items()}, (value,)))
        return value.name

    queries = add("reshape", "queries", query, x=head.query.whole, shape=_literal("int32", query))
    by_head = add("reshape", "keys", key, x=keys, shape=_literal("int32", key))
    values = add("reshape", "values", key, x=head.value.whole, shape=_literal("int32", key))
    square = (*query[:2], query[3], key[3])
    products = add("matmul", "products", square, x=queries, y=by_head, transpose_x=_literal("bool", True))
    scores = add("mul", "scores", square, x=products, y=_literal("fp32", head.scale))
    weights = add("softmax", "weights", square, x=scores, axis=_literal("int32", -1))
    averages = add("matmul", "averages", query, x=values, y=weights, transpose_y=_literal("bool", True))
    shape = (query[0], query[1] * query[2], 1, query[3])
    last = Operation("reshape", concat.name, {"x": (averages,), "shape": (_literal("int32", shape),)}, concat.outputs)
    return (*made, last)


def _head(values: _Values, argument: Argument) -> _Head:
    value, weights = _product(values, argument)
    softmax, _ = values.made_by("softmax", weights)
    _require(int(values.constant(softmax.inputs["axis"])) in (1, -3))
    (scores,) = softmax.inputs["x"]
    scale = 1.0
    if values.is_made_by("mul", scores):
        (scores,), factor = _operands(values, "mul", scores)
        scale = float(values.constant(factor).item())
    key, query = _product(values, scores)
    return _Head(_part(values, query, 1), _part(values, key, 3), _part(values, value, 1), scale)


def _product(values: _Values, argument: Argument) -> tuple[Argument, Argument]:
    einsum, _ = values.made_by("einsum", argument)
    _require(is_product_of_matrices(str(values.constant(einsum.inputs["equation"]))))
    left, right = einsum.inputs["values"]
    return left, right


def _part(values: _Values, argument: Argument, axis: int) -> _Part:
    split, position = values.made_by("split", argument)
    (shape,) = {value.type.shape for value in split.outputs}
    (whole,) = split.inputs["x"]
    _require(len(shape) == 4 and int(values.constant(split.inputs["axis"])) in (axis, axis - 4))
    assert isinstance(whole, str)
    return _Part(whole, position, len(split.outputs), shape)


# Normalisation


def _normalisation(values: _Values, division: Operation) -> tuple[Operation, ...]:
    (centred,), (deviation,) = division.inputs["x"], division.inputs["y"]
    (x,), (mean,) = _operands(values, "sub", centred)
    (shifted,) = values.made_by("sqrt", deviation)[0].inputs["x"]
    (variance,), epsilon = _operands(values, "add", shifted)
    (squares,) = values.made_by("reduce_mean", variance)[0].inputs["x"]
    _require(values.made_by("square", squares)[0].inputs["x"] == (centred,))
    of_x, of_squares = (values.made_by("reduce_mean", each)[0].inputs for each in (mean, variance))
    _require(of_x["x"] == (x,))
    _require(all(bool(values.constant(inputs["keep_dims"])) for inputs in (of_x, of_squares)))
    axes = values.constant(of_x["axes"])
    _require(np.array_equal(axes, values.constant(of_squares["axes"])))
    added = _literal("fp32", values.constant(epsilon).item())
    inputs = {"x": (x,), "axes": (_literal("int32", axes),), "epsilon": (added,)}
    return (Operation("layer_norm", division.name, inputs, division.outputs),)


def _operands(values: _Values, kind: str, argument: Argument) -> tuple[Sequence[Argument], Sequence[Argument]]:
    """What an operation of two operands computes a value of."""
    operation, _ = values.made_by(kind, argument)
    return operation.inputs["x"], operation.inputs["y"]


_PATTERNS: Mapping[str, Callable[[_Values, Operation], tuple[Operation, ...]]] = {
    "concat": _attention,
    "real_div": _normalisation,
}
"""What to look for where an operation of a kind may end it."""
