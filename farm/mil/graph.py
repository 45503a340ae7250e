"""The ONNX graph under construction, and what translators of operations work with."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from farm.mil.program import ValueType
from farm.mil.weights import Constant

ONNX_OPSET = 20
"""The first with Gelu; onnxruntime 1.20, the oldest that the farm allows, runs it."""


_MAPPED_BYTES = 1 << 16
"""Weights of more bytes are mapped where weights are; smaller ones are not worth a node that converts them."""


class UnsupportedError(Exception):
    """Raised by a translator that cannot express what an operation asks for; the message is the reason."""


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A value of the MIL program, as the graph knows it.

    Attributes:
        name: Its name in the graph.
        type: Its type in the program.
        known: Its value where that is known now.
    """

    name: str
    type: ValueType
    known: Constant | NDArray[Any] | None = None

    @property
    def rank(self) -> int:
        """Number of its dimensions."""
        return len(self.type.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes.

        Raises:
            UnsupportedError: The program leaves one open.
        """
        return static_shape(self.type)

    @property
    def is_float(self) -> bool:
        """Whether it is floating point in the program, and so fp32 in the graph."""
        return self.type.dtype.startswith(("fp", "bf"))

    @property
    def is_bool(self) -> bool:
        """Whether it is boolean in the program and in the graph."""
        return self.type.dtype == "bool"

    def stored(self) -> NDArray[Any]:
        """Its value in the type that the package stores.

        Raises:
            UnsupportedError: It is not known before the model runs.
        """
        if self.known is None:
            raise UnsupportedError("a parameter that must be constant is computed by the model")
        return self.known.array() if isinstance(self.known, Constant) else self.known

    def value(self) -> NDArray[Any]:
        """Its value in the graph's type: float32, int32, bool or str. Raises as `stored` does."""
        stored = self.stored()
        return stored if stored.dtype == object else stored.astype(graph_type(self.type.dtype), copy=False)


def static_shape(kind: ValueType) -> tuple[int, ...]:
    """The sizes of a type.

    Raises:
        UnsupportedError: One of them is open.
    """
    return fixed(kind.shape)


def fixed(sizes: Sequence[int | None]) -> tuple[int, ...]:
    """Sizes of some dimensions.

    Raises:
        UnsupportedError: One of them is open.
    """
    if None in sizes:
        raise UnsupportedError("it needs a fixed shape here, and the program leaves one open")
    return tuple(size for size in sizes if size is not None)


def graph_type(dtype: str) -> type[np.generic]:
    """The graph's type for a MIL type: all floating point is fp32, all integers are int32."""
    if dtype.startswith(("fp", "bf")):
        return np.float32
    return np.bool_ if dtype == "bool" else np.int32


Operand = Tensor | str | NDArray[Any] | None
"""What a node may be given: a value, the name of another node's output, a constant, or nothing."""

Result = str | Tensor | NDArray[Any]
"""What a translator gives for an output: a node's output that computes it, another value it equals, or its value."""

Translator = Callable[..., Result | Sequence[Result]]


class Graph:
    """Collects the nodes of the graph.

    Args:
        maps_weights: Whether weights stay as they are stored, in the mapped file: the graph takes them as inputs, which
            onnxruntime neither copies nor folds, and converts each where it is used.

    Attributes:
        results: Types of the outputs of the operation that is being translated, as the program declares them.
        branches: What that operation's blocks became, as ONNX graphs.
        nodes: Nodes in order.
        initializers: Constants that nodes use, by name.
        weights: Mapped weights that nodes use, by name.
    """

    def __init__(self, *, maps_weights: bool = False) -> None:
        self.results: tuple[ValueType, ...] = ()
        self.branches: tuple[Any, ...] = ()
        self.nodes: list[Any] = []
        self.initializers: dict[str, NDArray[Any]] = {}
        self.weights: dict[str, NDArray[Any]] = {}
        self._maps_weights = maps_weights
        self._known: dict[str, str] = {}
        self._count = 0

    def node(self, kind: str, *operands: Operand, domain: str = "", **attributes: object) -> str:
        """Adds a node with one output.

        Args:
            kind: Operator.
            operands: Its inputs in order.
            domain: The operator's domain; empty for ONNX's own.
            attributes: Its attributes; None leaves one out.

        Returns:
            The name of its output.
        """
        return self.nodes_of(kind, *operands, outputs=1, domain=domain, **attributes)[0]

    def nodes_of(
        self, kind: str, *operands: Operand, outputs: int, domain: str = "", **attributes: object
    ) -> list[str]:
        """Adds a node with several outputs and returns their names. Arguments as `node`."""
        names = [self.unique(kind) for _ in range(outputs)]
        given = {key: value for key, value in attributes.items() if value is not None}
        inputs = [self._name(operand) for operand in operands]
        while inputs and not inputs[-1]:  # some operators take an empty last input for a given one
            inputs.pop()
        self.nodes.append(onnx.helper.make_node(kind, inputs, names, domain=domain, **given))
        return names

    @contextmanager
    def branch(self) -> Iterator[list[Any]]:
        """Collects nodes in a list of their own for a while: they see what is outside, but are not seen from there."""
        outside, known = self.nodes, dict(self._known)
        self.nodes = []
        try:
            yield self.nodes
        finally:
            self.nodes, self._known = outside, known

    def unique(self, stem: str) -> str:
        """A new name. It has a colon, which no name in MIL has."""
        self._count += 1
        return f"{stem}:{self._count}"

    def _name(self, operand: Operand) -> str:
        if operand is None:
            return ""
        if isinstance(operand, str):
            return operand
        if isinstance(operand, Tensor):
            return operand.name if operand.known is None else self._known_name(operand)
        name = self.unique("constant")
        self.initializers[name] = np.asarray(operand)
        return name

    def _known_name(self, tensor: Tensor) -> str:
        """Name under which nodes find a value that is known, which is put where they do at its first use."""
        if tensor.name not in self._known:
            self._known[tensor.name] = tensor.name
            stored = tensor.stored()
            if not (self._maps_weights and tensor.is_float and stored.nbytes > _MAPPED_BYTES):
                self.initializers[tensor.name] = tensor.value()
            else:
                self.weights[tensor.name] = stored
                if stored.dtype != np.float32:
                    self._known[tensor.name] = cast(self, tensor.name, np.float32)
        return self._known[tensor.name]


def cast(g: Graph, x: Operand, dtype: type[np.generic]) -> str:
    """Converts what a node computed to another type."""
    return g.node("Cast", x, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def indices(g: Graph, x: Tensor) -> Operand:
    """A shape, positions or sizes that may be computed, as the int64 that ONNX wants."""
    return int64(x.value()) if x.known is not None else cast(g, x, np.int64)


def int64(values: object) -> NDArray[np.int64]:
    """Shapes, axes and the like, in the type that ONNX wants them."""
    return np.asarray(values, np.int64)


def fp32(values: object) -> NDArray[np.float32]:
    """A floating-point constant."""
    return np.asarray(values, np.float32)
