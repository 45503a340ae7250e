"""Reads an `.mlpackage` (or a bare `.mlmodel`) into a frozen program: functions, blocks, operations, values.

The protobuf is read directly, not lifted into coremltools' mutable PyMIL: the outputs of each operation already carry
their types, nothing of the protobuf is kept, and weights stay views into the mapped file.
Layout and meaning: `MIL.proto`, `Model.proto` and `FeatureTypes.proto` of coremltools 9.0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from farm.errors import PackageError
from farm.mil.compiled import is_compiled, read_compiled
from farm.mil.features import Feature
from farm.mil.messages import data_type_name, model_message
from farm.mil.package import inside, read_package_manifest, unreadable
from farm.mil.weights import NUMPY_TYPES, Constant, WeightFile

_FEATURE_TYPES = {65568: "float32", 65600: "float64", 131104: "int32", 131080: "int8", 65552: "float16"}
"""`ArrayFeatureType.ArrayDataType` by number."""


@dataclass(frozen=True, slots=True)
class ValueType:
    """Type of a value inside the program.

    Attributes:
        dtype: MIL's name of the type of its elements; "list", "tuple", "dictionary" or "state" where it is no tensor.
        shape: Its sizes; None where the program leaves one open.
    """

    dtype: str
    shape: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Value:
    """A named value: an input of a function or an output of an operation."""

    name: str
    type: ValueType


Argument = str | Constant
"""What an operation is given: a value by its name, or a constant on the spot."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One statement of the program.

    Attributes:
        type: What it does: "conv", "add", ...
        name: Its name in the source model, for messages.
        inputs: Arguments by parameter. A parameter that takes several values has several arguments.
        outputs: Values that it defines.
        blocks: Statements that control flow runs or not, or several times.
    """

    type: str
    name: str
    inputs: Mapping[str, tuple[Argument, ...]]
    outputs: tuple[Value, ...]
    blocks: tuple["Block", ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """Statements inside of an operation; they also see what is defined before it."""

    inputs: tuple[Value, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the program.

    Attributes:
        opset: Version of the operations, for example "CoreML6" (iOS 16, macOS 13).
        inputs: Its parameters.
        operations: Its statements in order.
        outputs: Names of the values that it returns.
    """

    opset: str
    inputs: tuple[Value, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """An ML program.

    Attributes:
        path: The package it was read from.
        functions: Functions by name.
        main: Name of the function that was asked for, else of the one that runs by default.
        inputs: Its declared inputs.
        outputs: Its declared outputs.
        states: Names of declared states; the model keeps them between predictions.
        metadata: What its maker wrote of it.
    """

    path: Path
    functions: Mapping[str, Function]
    main: str
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    states: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_programs(path: Path, function: str | None = None) -> tuple[Program, ...]:
    """Reads the ML programs of a package in the order in which they run: one, or those of a pipeline.

    Args:
        path: An `.mlpackage` folder, or an `.mlmodel` file.
        function: The function that shall run; the package's default if not given.

    Raises:
        PackageError: It is missing, damaged, holds something else than ML programs, or has no such function.
    """
    specification = _specification_file(path)
    message = _parse(path, specification)
    messages = list(message.pipeline.models) if message.WhichOneof("Type") == "pipeline" else [message]
    kinds = {str(each.WhichOneof("Type")) for each in messages}
    if kinds != {"mlProgram"}:
        raise PackageError(
            f"{path} holds a model of the kind '{', '.join(sorted(kinds)) or 'pipeline'}', and only ML programs can be "
            "read here. Convert it with convert_to='mlprogram'.",
            path=str(path),
        )
    try:
        reader = _Reader(path, specification.parent)
        return tuple(reader.program(each, _chosen(path, each, function)) for each in messages)
    except (ValueError, KeyError, IndexError, OverflowError, MemoryError) as error:
        raise unreadable(path, f"its program contradicts itself ({error})") from error


def read_interface(path: Path, function: str | None = None) -> tuple[tuple[Feature, ...], tuple[Feature, ...]]:
    """Reads the declared inputs and outputs of a package, whatever kind of model it holds.

    Args:
        path: An `.mlpackage` or `.mlmodelc` folder, or an `.mlmodel` file.
        function: Whose inputs and outputs; the package's default if not given.

    Raises:
        PackageError: It is missing or damaged, or has no such function.
    """
    if is_compiled(path):
        compiled = read_compiled(path)
        return compiled.inputs, compiled.outputs
    message = _parse(path, _specification_file(path))
    description = _description(message, _chosen(path, message, function))
    try:
        return tuple(map(_feature, description.input)), tuple(map(_feature, description.output))
    except KeyError as error:
        raise unreadable(path, f"it declares elements of the unknown type {error}") from error


def _parse(path: Path, specification: Path) -> Any:
    message = model_message()()
    try:
        message.ParseFromString(specification.read_bytes())
    except OSError as error:
        raise unreadable(path, f"{specification.name} cannot be read ({error})") from error
    except Exception as error:  # protobuf's DecodeError has no stable home, and bad UTF-8 is a ValueError of its own
        raise unreadable(path, f"{specification.name} is not a Core ML specification ({error})") from error
    if message.WhichOneof("Type") is None:
        raise unreadable(path, f"{specification.name} holds no model")
    return message


def _chosen(path: Path, message: Any, function: str | None) -> str:
    """Name of the function that shall run.

    Raises:
        PackageError: There is none of the name that was asked for.
    """
    default: str = message.description.defaultFunctionName or "main"
    names = sorted(message.mlProgram.functions) or [default]
    if function is not None and function not in names:
        raise PackageError(
            f"{path} has no function '{function}'; it has {', '.join(names)}. Choose one of these.", path=str(path)
        )
    return function or default


def _description(message: Any, function: str) -> Any:
    """What describes the inputs and outputs of a function; packages with one alone describe it as the whole model."""
    by_name = {described.name: described for described in message.description.functions}
    return by_name.get(function, message.description)


def _specification_file(path: Path) -> Path:
    if not path.exists():
        raise PackageError(f"There is no model package at {path}. Check the path and the model folder.", path=str(path))
    if path.is_file():
        return path
    if path.suffix == ".mlmodelc":
        raise PackageError(
            f"{path} is a compiled model, which only Core ML on a Mac can run. Get the .mlpackage that it was made "
            "from: publishers keep it in `packages` beside `compiled`.",
            path=str(path),
        )
    return read_package_manifest(path).model


class _Reader:
    """Turns the messages of one specification into frozen values; holds the weight files that it has opened."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._files: dict[str, WeightFile] = {}

    def program(self, message: Any, main: str) -> Program:
        description = _description(message, main)
        functions = {name: self._function(function) for name, function in message.mlProgram.functions.items()}
        if main not in functions:
            raise ValueError(f"it has no function '{main}'")
        declared = {feature.name for feature in (*description.input, *description.state)}
        if declared != {value.name for value in functions[main].inputs}:
            raise ValueError("the inputs that the model declares are not those of its program")
        _check_values(functions[main], {feature.name for feature in description.output})
        return Program(
            path=self._path,
            functions=functions,
            main=main,
            inputs=tuple(_feature(feature) for feature in description.input),
            outputs=tuple(_feature(feature) for feature in description.output),
            states=tuple(feature.name for feature in description.state),
            metadata=dict(message.description.metadata.userDefined),
        )

    def _function(self, message: Any) -> Function:
        block = message.block_specializations[message.opset]
        return Function(
            opset=message.opset,
            inputs=tuple(_value(named) for named in message.inputs),
            operations=tuple(self._operation(operation) for operation in block.operations),
            outputs=tuple(block.outputs),
        )

    def _operation(self, message: Any) -> Operation:
        inputs = {name: self._arguments(argument) for name, argument in message.inputs.items()}
        # Up to iOS 17 the parameters of compressed constants, and `val` of every constant, are written as attributes.
        attributes = {name: self._constant(value) for name, value in message.attributes.items()}
        name = attributes.pop("name", None)
        return Operation(
            type=message.type,
            name=str(name.array()) if name is not None else "",
            inputs=inputs | {key: (value,) for key, value in attributes.items()},
            outputs=tuple(_value(named) for named in message.outputs),
            blocks=tuple(self._block(block) for block in message.blocks),
        )

    def _block(self, message: Any) -> Block:
        operations = tuple(self._operation(operation) for operation in message.operations)
        return Block(tuple(_value(named) for named in message.inputs), operations, tuple(message.outputs))

    def _arguments(self, message: Any) -> tuple[Argument, ...]:
        return tuple(
            binding.name if binding.WhichOneof("binding") == "name" else self._constant(binding.value)
            for binding in message.arguments
        )

    def _constant(self, message: Any) -> Constant:
        kind = _value_type(message.type)
        if None in kind.shape:
            raise ValueError("a constant has no definite shape")
        shape = tuple(size for size in kind.shape if size is not None)
        if message.WhichOneof("value") == "blobFileValue":
            return self._weights(message.blobFileValue.fileName).constant(
                message.blobFileValue.offset, kind.dtype, shape
            )
        return _immediate(message.immediateValue, kind.dtype, shape)

    def _weights(self, name: str) -> WeightFile:
        if name not in self._files:
            self._files[name] = WeightFile(inside(self._folder, name.removeprefix("@model_path/")))
        return self._files[name]


def _check_values(function: Function, outputs: set[str]) -> None:
    defined = {value.name for value in function.inputs}
    _check_operations(function.operations, defined)
    if not outputs <= set(function.outputs) or not outputs <= defined:
        raise ValueError("an output that the model declares is not computed")


def _check_operations(operations: Sequence[Operation], defined: set[str]) -> None:
    """Checks that nothing is used before it is defined; adds what the operations define."""
    for operation in operations:
        used = {name for arguments in operation.inputs.values() for name in arguments if isinstance(name, str)}
        for block in operation.blocks:
            inside = defined | {value.name for value in block.inputs}
            _check_operations(block.operations, inside)
            used |= set(block.outputs) - inside
        if not used <= defined:
            raise ValueError(f"{operation.type} uses {', '.join(sorted(used - defined))} before it is defined")
        defined.update(value.name for value in operation.outputs)


def _immediate(message: Any, dtype: str, shape: tuple[int, ...]) -> Constant:
    if message.WhichOneof("value") != "tensor":
        return Constant(dtype, (), np.array(None))  # lists and dictionaries: no operation that takes them is translated
    content = getattr(message.tensor, message.tensor.WhichOneof("value") or "ints").values
    if isinstance(content, bytes):  # small constants of types that protobuf has no field for: fp16, int8, uint4, ...
        stored = NUMPY_TYPES.get(dtype, np.dtype(np.uint8))
        return Constant(dtype, shape, np.frombuffer(content, stored))
    data = np.array(content, dtype=object if dtype == "string" else NUMPY_TYPES[dtype])
    if data.size != math.prod(shape):
        raise ValueError(f"a constant of shape {list(shape)} has {data.size} elements")
    return Constant(dtype, shape, data)


def _value(message: Any) -> Value:
    return Value(message.name, _value_type(message.type))


def _value_type(message: Any) -> ValueType:
    kind = message.WhichOneof("type")
    if kind != "tensorType":
        return ValueType((kind or "no").removesuffix("Type"))
    sizes = (
        dimension.constant.size if dimension.WhichOneof("dimension") == "constant" else None
        for dimension in message.tensorType.dimensions
    )
    return ValueType(data_type_name(message.tensorType.dataType), tuple(sizes))


def _feature(message: Any) -> Feature:
    kind = (message.type.WhichOneof("Type") or "no").removesuffix("Type")
    if kind != "multiArray":
        return Feature(message.name, kind)
    array = message.type.multiArrayType
    default = array.WhichOneof("defaultOptionalValue")
    return Feature(
        name=message.name,
        kind=kind,
        dtype=_FEATURE_TYPES[array.dataType],
        shape=tuple(array.shape),
        shapes=tuple(tuple(shape.shape) for shape in array.enumeratedShapes.shapes),
        ranges=tuple(
            (size.lowerBound, size.upperBound if size.upperBound >= 0 else None) for size in array.shapeRange.sizeRanges
        ),
        default=getattr(array, default) if message.type.isOptional and default else None,
    )
