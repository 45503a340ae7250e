"""Translates an ML program to an ONNX model, operation by operation.

All floating point becomes fp32 and all integers int32: the portable runtime stands in for Core ML where there is none,
and fp32 is what processors without fp16 arithmetic run fast. Constants stay outside the model (protobuf ends at 2 GB)
and are only converted when a node uses them; those of a big model only when the model runs.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import numpy_helper

from farm.errors import PackageError, UnsupportedOperationsError
from farm.mil import (
    operations_constexpr,
    operations_elementwise,
    operations_gather,
    operations_linear,
    operations_nn,
    operations_reduction,
    operations_regions,
    operations_resize,
    operations_shape,
)
from farm.mil.features import Feature
from farm.mil.fusion import fuse
from farm.mil.graph import ONNX_OPSET, Graph, Result, Tensor, UnsupportedError, graph_type
from farm.mil.program import Argument, Block, Function, Operation, Program, Value, ValueType
from farm.mil.table import Entry, Parameter, merge
from farm.mil.weights import Constant

OPERATIONS: Mapping[str, Entry] = merge(
    family.OPERATIONS
    for family in (
        operations_constexpr,
        operations_elementwise,
        operations_gather,
        operations_linear,
        operations_nn,
        operations_reduction,
        operations_regions,
        operations_resize,
        operations_shape,
    )
)
"""Every operation that is translated."""

_RECURRENT = "recurrent cells are not translated; no image model needs them"
_LIST = "lists and loops are not translated; only models that run straight through are"
_RANDOM = "Core ML's random numbers cannot be reproduced elsewhere"
_STATE = "models that keep state between predictions are not translated"

LEFT_OUT: Mapping[str, str] = {
    "classify": "class labels have no tensor form; take the probabilities as the model's output",
    "conv_quantized": "it is experimental and does not say how its bias is quantized; compress the weights instead",
    "gru": _RECURRENT,
    "list_gather": _LIST,
    "list_length": _LIST,
    "list_read": _LIST,
    "list_scatter": _LIST,
    "list_write": _LIST,
    "lstm": _RECURRENT,
    "make_list": _LIST,
    "random_bernoulli": _RANDOM,
    "random_categorical": _RANDOM,
    "random_normal": _RANDOM,
    "random_uniform": _RANDOM,
    "read_state": _STATE,
    "rnn": _RECURRENT,
    "while_loop": _LIST,
    "write_state": _STATE,
}
"""Operations that are known and not translated, and why."""

_FOLDED_ELEMENTS = 64
"""Integers of up to so many elements are computed while translating: shapes and the like, which must then be known."""

_INLINE_BYTES = 1024
"""Constants up to this size are part of the model: onnxruntime infers shapes from the values of small ones."""

_MAPPED_ELEMENTS = 1 << 27
"""Programs with more elements of constants keep them in the mapped file, as they are stored. In fp32 they would fill
half a gigabyte, and several times that while onnxruntime loads them. The price is that each is converted at each use,
and that convolutions do without the order of weights that onnxruntime likes best."""

_IR_VERSION = 9
"""ONNX file format that goes with the operator set."""


@dataclass(frozen=True, slots=True)
class Translation:
    """An ONNX model and what is needed to run it.

    Attributes:
        model: The model, serialized, without its large constants.
        initializers: Its large constants by name.
        weights: Inputs of the model beside the declared ones, and the constants they are to be fed with each time.
        inputs: Declared inputs, in the order of the model's, whose names they share.
        outputs: Declared outputs with the name of the graph's value for each.
    """

    model: bytes
    initializers: Mapping[str, NDArray[Any]]
    weights: Mapping[str, NDArray[Any]]
    inputs: tuple[Feature, ...]
    outputs: tuple[tuple[Feature, str], ...]


def translate(program: Program, *, mapped_from: int = _MAPPED_ELEMENTS) -> Translation:
    """Translates a program's main function.

    Args:
        program: The program.
        mapped_from: Elements of all its constants above which its weights are mapped.

    Raises:
        UnsupportedOperationsError: Some of it has no translation. All of it is named.
    """
    function = fuse(program.functions[program.main])
    translator = _Translator(Graph(maps_weights=_constant_elements(function) > mapped_from))
    translator.declare(program)
    translator.run(function.operations)
    features = {feature.name: feature for feature in program.outputs}
    outputs = tuple((features[name], translator.output(name)) for name in function.outputs if name in features)
    translator.raise_problems(program)
    used = set(_names_used(translator.graph.nodes))
    initializers = {name: array for name, array in translator.graph.initializers.items() if name in used}
    graph = onnx.helper.make_graph(
        translator.graph.nodes,
        "main",
        [_value_info(value.name, graph_type(value.type.dtype), value.type.shape) for value in function.inputs]
        + [_value_info(name, array.dtype, array.shape) for name, array in translator.graph.weights.items()],
        [onnx.helper.make_empty_tensor_value_info(name) for _, name in outputs],
        [_tensor(name, array) for name, array in initializers.items()],
    )
    opsets = [onnx.helper.make_opsetid("", ONNX_OPSET)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    outside = {name: array for name, array in initializers.items() if array.nbytes > _INLINE_BYTES}
    return Translation(model.SerializeToString(), outside, translator.graph.weights, program.inputs, outputs)


def _names_used(nodes: Iterable[Any]) -> Iterator[str]:
    """Names of what nodes take, also those inside of their branches."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            yield from _names_used(attribute.g.node)


def _constant_elements(function: Function) -> int:
    """Elements of a function's constants, those that are compressed as they are when expanded."""
    return sum(
        math.prod(size or 1 for size in value.type.shape)
        for operation in function.operations
        if operation.type.startswith("const")
        for value in operation.outputs
    )


def _value_info(name: str, dtype: DTypeLike, shape: Sequence[int | None]) -> Any:
    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    sizes = [f"{name}_{axis}" if size is None else size for axis, size in enumerate(shape)]
    return onnx.helper.make_tensor_value_info(name, element, sizes)


def _tensor(name: str, array: NDArray[Any]) -> Any:
    """A constant in the model if it is small, else the announcement of one that is handed over beside the model."""
    if array.nbytes <= _INLINE_BYTES:
        return numpy_helper.from_array(array, name)
    tensor = onnx.TensorProto(name=name, dims=array.shape, data_location=onnx.TensorProto.EXTERNAL)
    tensor.data_type = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor.external_data.add(key="location", value="memory")
    return tensor


class _Translator:
    """Walks a function and keeps what its values became."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._values: dict[str, Tensor] = {}
        self._problems: Counter[str] = Counter()

    def declare(self, program: Program) -> None:
        """Takes the function's inputs, and notes what of the model's interface is not supported."""
        for value in program.functions[program.main].inputs:
            self._values[value.name] = Tensor(value.name, value.type)
        for feature in (*program.inputs, *program.outputs):
            if feature.kind != "multiArray":
                self._problems[f"'{feature.name}' is of the kind {feature.kind}; only multi-arrays are supported"] += 1
        for name in program.states:
            self._problems[f"state '{name}': {_STATE}"] += 1

    def run(self, operations: Iterable[Operation]) -> None:
        """Translates all operations; what goes wrong is kept for the end."""
        for operation in operations:
            if operation.type == "const":
                self._define_constant(operation)
                continue
            is_known = operation.type in OPERATIONS
            self.graph.branches = tuple(self._branch(block) for block in operation.blocks) if is_known else ()
            self.graph.results = tuple(value.type for value in operation.outputs)
            first_node = len(self.graph.nodes)
            try:
                for value, result in zip(operation.outputs, self._translate(operation), strict=True):
                    self._define(value, result)
                self._fold(operation, self.graph.nodes[first_node:])
                continue
            except UnsupportedError as error:
                self._problems[f"{operation.type}: {error}"] += 1
            except Exception as error:  # noqa: BLE001 - a damaged program can break any assumption of a translator
                self._problems[f"{operation.type}: its parameters make no sense ({error})"] += 1
            for value in operation.outputs:  # so that what comes after is looked at too
                self._define(value, "")

    def _branch(self, block: Block) -> Any:
        """A block as an ONNX graph, whose outputs are its own."""
        with self.graph.branch() as nodes:
            self.run(block.operations)
            outputs = [self.graph.node("Identity", self._values[name]) for name in block.outputs]
        infos = [onnx.helper.make_empty_tensor_value_info(name) for name in outputs]
        return onnx.helper.make_graph(nodes, self.graph.unique("branch"), [], infos)

    def output(self, name: str) -> str:
        """Name of the graph's value for an output of the function."""
        tensor = self._values[name]
        is_computed = any(tensor.name in node.output for node in reversed(self.graph.nodes))
        return tensor.name if is_computed else self.graph.node("Identity", tensor)

    def raise_problems(self, program: Program) -> None:
        """Raises the error that lists what has no translation, if there is any."""
        if not self._problems:
            return
        lines = [f"  {problem}" + (f" ({n} times)" if n > 1 else "") for problem, n in sorted(self._problems.items())]
        raise UnsupportedOperationsError(
            f"The portable runtime cannot run {program.path}: it uses what has no translation.\n"
            + "\n".join(lines)
            + "\nRun this model on a Mac, where Core ML runs it, or convert it without these.",
            path=str(program.path),
            problems="; ".join(sorted(self._problems)),
        )

    def _define_constant(self, operation: Operation) -> None:
        if len(operation.outputs) != 1 or not operation.inputs.get("val"):
            raise PackageError(
                "A constant of the program has no value: the file is damaged. Fetch or convert the model again.",
                operation=operation.outputs[0].name if operation.outputs else "",
            )
        (value,) = operation.outputs
        constant = operation.inputs["val"][0]
        self._values[value.name] = Tensor(value.name, value.type, constant if isinstance(constant, Constant) else None)

    def _define(self, value: Value, result: Result) -> None:
        if isinstance(result, Tensor):
            self._values[value.name] = Tensor(result.name, value.type, result.known)
        elif isinstance(result, np.ndarray):
            self._values[value.name] = Tensor(value.name, value.type, result)
        else:
            self._values[value.name] = Tensor(result, value.type)

    def _translate(self, operation: Operation) -> list[Result]:
        entry = OPERATIONS.get(operation.type)
        if entry is None:
            raise UnsupportedError(LEFT_OUT.get(operation.type, "this operation is not known"))
        known = {parameter.name for parameter in entry.parameters}
        extra = operation.inputs.keys() - known
        if extra:
            raise UnsupportedError(f"the parameter {', '.join(sorted(extra))} is not known")
        given = {p.keyword: self._argument(p, operation) for p in entry.parameters if p.name in operation.inputs}
        missing = [p.name for p in entry.parameters if p.is_required and p.keyword not in given]
        if missing:
            raise UnsupportedError(f"the parameter {', '.join(missing)} is missing")
        results = entry.translator(self.graph, **given)
        return [results] if isinstance(results, str | Tensor | np.ndarray) else list(results)

    def _argument(self, parameter: Parameter, operation: Operation) -> object:
        tensors = tuple(self._tensor(argument) for argument in operation.inputs[parameter.name])
        if parameter.is_variadic:
            return tensors
        (tensor,) = tensors
        if parameter.is_tensor:
            return tensor
        try:
            return tensor.stored().tolist()
        except UnsupportedError as error:
            raise UnsupportedError(f"the parameter {parameter.name} is computed by the model") from error

    def _tensor(self, argument: Argument) -> Tensor:
        if isinstance(argument, str):
            return self._values[argument]
        return Tensor(self.graph.unique("literal"), ValueType(argument.dtype, argument.shape), argument)

    def _fold(self, operation: Operation, nodes: list[Any]) -> None:
        """Computes small integers that depend on constants only, and takes their nodes back."""
        kinds = [value.type for value in operation.outputs]
        if not nodes or operation.blocks or not all(_is_small_integer(kind) for kind in kinds):
            return
        made = {name for node in nodes for name in node.output}
        taken = {name for node in nodes for name in node.input if name} - made
        if not taken <= self.graph.initializers.keys():
            return
        results = [self._values[value.name].name for value in operation.outputs]
        computed = _evaluate(nodes, {name: self.graph.initializers[name] for name in taken}, results)
        for value, array in zip(operation.outputs, computed, strict=True):
            self._values[value.name] = Tensor(value.name, value.type, array)
        del self.graph.nodes[-len(nodes) :]


def _is_small_integer(kind: ValueType) -> bool:
    sizes = [size for size in kind.shape if size is not None]
    return graph_type(kind.dtype) is np.int32 and len(sizes) == len(kind.shape) and math.prod(sizes) <= _FOLDED_ELEMENTS


def _evaluate(nodes: list[Any], constants: Mapping[str, NDArray[Any]], results: list[str]) -> list[NDArray[Any]]:
    """Runs a few nodes on constants."""
    from onnx.reference import ReferenceEvaluator

    graph = onnx.helper.make_graph(
        nodes,
        "constants",
        [],
        [onnx.helper.make_empty_tensor_value_info(name) for name in results],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", ONNX_OPSET)]
    values: list[NDArray[Any]] = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=opsets)).run(None, {})
    return values
