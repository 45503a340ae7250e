"""What a package or compiled model says of itself, as far as the catalogue needs it: no folder name is believed alone.

An `.mlpackage` holds its program as a protobuf message; an `.mlmodelc` holds `metadata.json`, a summary, and the
program as text, `model.mil`. Nothing is run, and neither numpy nor coremltools is imported: listing models must be
quick.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from farm.domain import AttentionVariant
from farm.errors import PackageError
from farm.mil.compiled import is_compiled, read_compiled
from farm.mil.messages import data_type_name, model_message
from farm.mil.package import read_package_manifest

V2_CHUNK = 512
"""Apple's SPLIT_EINSUM_V2 cuts long queries into chunks of so many, the last one longer by what remains."""

_FLOATS = {"fp16": "float16", "fp32": "float32"}
_MIL_EINSUM = re.compile(r"tensor<\w+, \[([\d, ]+)\]> \w+ = einsum\(")
_PALETTE = re.compile(r"Palettized \((\d+) bits?\)")


@dataclass(frozen=True, slots=True)
class Interface:
    """A function of an artifact.

    Attributes:
        inputs: Shapes by name.
        outputs: Shapes by name; empty where they are left open.
        einsums: How many einsums it computes; None where that is not known.
        queries: Lengths of its einsums' last dimension, which in split attention is the queries'.
    """

    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    einsums: int | None = None
    queries: tuple[int, ...] = ()

    @property
    def attentions(self) -> tuple[AttentionVariant, ...]:
        """The forms of attention that a UNet of these operations can have, the likeliest first.

        Only split attention is made of einsums. The two forms of it differ only where queries are long enough to be cut
        into chunks, which are of `V2_CHUNK` and never twice as long.
        """
        if self.einsums is None:
            return tuple(AttentionVariant)
        if self.einsums == 0:
            return (AttentionVariant.ORIGINAL,)
        if any(length >= 2 * V2_CHUNK for length in self.queries):
            return (AttentionVariant.SPLIT_EINSUM,)
        split = (AttentionVariant.SPLIT_EINSUM, AttentionVariant.SPLIT_EINSUM_V2)
        return split[::-1] if V2_CHUNK in self.queries else split


@dataclass(frozen=True, slots=True)
class Contents:
    """What an artifact holds.

    Attributes:
        functions: Its functions by name, the default one first.
        precision: How most of its weights are stored: "float16", "float32", "palettized-6", "quantized-8", ...
    """

    functions: dict[str, Interface]
    precision: str


def encode_contents(contents: Contents) -> str:
    """What a cache keeps of an artifact."""
    return msgspec.json.encode(contents).decode()


def decode_contents(text: str) -> Contents | None:
    """What a cache kept of an artifact; None if it is damaged, or was kept by another version of the farm."""
    try:
        return msgspec.json.decode(text, type=Contents)
    except msgspec.MsgspecError:
        return None


def specification_file(package: Path) -> Path:
    """The file of a package or compiled model that says what it takes, gives and computes, without the weights.

    Raises:
        PackageError: The package's manifest is missing or broken, or names a file that is not there.
    """
    if is_compiled(package):
        return package / "metadata.json"
    manifest = read_package_manifest(package)
    missing = [str(path.relative_to(package)) for path in manifest.items if not path.exists()]
    if missing or not manifest.model.is_file() or manifest.model.stat().st_size == 0:
        raise PackageError(
            f"{package} lacks {', '.join(missing) or 'its program'}, so it is not a complete package; "
            "fetch or convert it again",
            path=str(package),
        )
    return manifest.model


def read_contents(package: Path) -> Contents:
    """Reads what a package or compiled model holds.

    Raises:
        PackageError: It is incomplete or damaged.
    """
    if is_compiled(package):
        return _read_compiled(package)
    from google.protobuf.message import DecodeError

    file = specification_file(package)
    try:
        return _Specification(model_message().FromString(file.read_bytes())).contents()
    except (OSError, DecodeError, ValueError, KeyError) as error:
        raise PackageError(
            f"{package} cannot be read ({error}): its program is damaged; fetch or convert it again", path=str(package)
        ) from error


def package_files(package: Path) -> list[Path]:
    """All files of a package in a fixed order, but for hidden ones: the Finder leaves .DS_Store behind."""
    files = (path for path in package.rglob("*") if path.is_file())
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(package).parts))


def _read_compiled(package: Path) -> Contents:
    compiled = read_compiled(package)
    text = package / "model.mil"
    if not (package / "coremldata.bin").is_file():
        raise PackageError(
            f"{package} lacks coremldata.bin, so it is not a complete compiled model; fetch it again", path=str(package)
        )
    try:
        program = text.read_text(encoding="utf-8") if text.is_file() else ""
    except (OSError, ValueError) as error:
        raise PackageError(f"{text} cannot be read ({error}); fetch the model again", path=str(package)) from error
    shapes = (match[1].split(",") for match in _MIL_EINSUM.finditer(program))
    einsums = sum(count for name, count in compiled.operations.items() if name.rpartition(".")[2] == "einsum")
    main = Interface(
        inputs={feature.name: feature.shape for feature in compiled.inputs},
        outputs={feature.name: feature.shape for feature in compiled.outputs},
        einsums=einsums if compiled.operations else None,
        queries=tuple(sorted({int(shape[-1]) for shape in shapes})),
    )
    return Contents({"main": main}, _precision_in_words(compiled.precision))


def _precision_in_words(storage: str) -> str:
    palettes = [int(bits) for bits in _PALETTE.findall(storage)]
    if palettes:
        return f"palettized-{min(palettes)}"
    if "Int8" in storage:
        return "quantized-8"
    return "float16" if "Float16" in storage else "float32"


class _Specification:
    """Walks the message of a package: one program with one or several functions, or a pipeline of them."""

    def __init__(self, message: Any) -> None:
        self._message = message
        self._default = message.description.defaultFunctionName or "main"

    def contents(self) -> Contents:
        described = {each.name: each for each in self._message.description.functions}
        described = described or {self._default: self._message.description}
        names = sorted(described, key=lambda name: (name != self._default, name))
        return Contents({name: self._interface(name, described[name]) for name in names}, self._precision())

    def functions(self) -> Iterator[Any]:
        """Every function of the program, or of all programs of a pipeline."""
        if self._message.WhichOneof("Type") == "pipeline":
            for model in self._message.pipeline.models:
                yield from _Specification(model).functions()
        yield from self._message.mlProgram.functions.values()

    @staticmethod
    def operations(function: Any) -> Iterable[Any]:
        """The statements of a function, in order."""
        operations: Iterable[Any] = function.block_specializations[function.opset].operations
        return operations

    def _interface(self, name: str, description: Any) -> Interface:
        by_name = self._message.mlProgram.functions
        functions = [by_name[name]] if name in by_name else list(self.functions())
        last = functions[-1] if functions else None
        computed = {value.name: value for op in self.operations(last) for value in op.outputs} if last else {}
        queries = [
            _shape(op.outputs[0])
            for function in functions
            for op in self.operations(function)
            if op.type == "einsum" and op.outputs
        ]
        return Interface(
            inputs={each.name: tuple(each.type.multiArrayType.shape) for each in description.input},
            outputs={
                each.name: tuple(each.type.multiArrayType.shape) or _shape(computed.get(each.name))
                for each in description.output
            },
            einsums=len(queries) if functions else None,
            queries=tuple(sorted({shape[-1] for shape in queries if shape})),
        )

    def _precision(self) -> str:
        stored: Counter[str] = Counter()
        for function in self.functions():
            for op in self.operations(function):
                label = _stored_as(op)
                if label:
                    stored[label] += math.prod(_shape(op.outputs[0]))
        return stored.most_common(1)[0][0] if stored else "float16"


def _stored_as(operation: Any) -> str | None:
    """How a constant is stored; None for what is no constant of weights."""
    if not operation.type.startswith("const") or not operation.outputs:
        return None
    if operation.type == "constexpr_lut_to_dense":
        entries = _palette_entries(operation)
        return f"palettized-{max(1, entries - 1).bit_length()}" if entries else "palettized"
    if operation.type == "constexpr_blockwise_shift_scale":
        kind = _argument_type(operation, "data")
        return f"quantized-{data_type_name(kind.tensorType.dataType).lstrip('uint')}" if kind else "quantized"
    if operation.type == "constexpr_affine_dequantize":
        return "quantized-8"
    return _FLOATS.get(data_type_name(operation.outputs[0].type.tensorType.dataType))


def _palette_entries(operation: Any) -> int:
    """Number of entries of a palette: its length up to iOS 17, and its last dimension but one since."""
    if "lut" in operation.attributes:
        return math.prod(_sizes(operation.attributes["lut"].type))
    kind = _argument_type(operation, "lut")
    sizes = _sizes(kind) if kind else ()
    return sizes[-2] if len(sizes) > 1 else 0


def _argument_type(operation: Any, parameter: str) -> Any:
    """Type of a constant that an operation is given on the spot; None if it is not."""
    arguments = operation.inputs[parameter].arguments
    return arguments[0].value.type if arguments and arguments[0].WhichOneof("binding") == "value" else None


def _shape(value: Any) -> tuple[int, ...]:
    return () if value is None else _sizes(value.type)


def _sizes(kind: Any) -> tuple[int, ...]:
    """Sizes of a tensor type; empty where one of them is open."""
    sizes = [dimension.constant.size for dimension in kind.tensorType.dimensions]
    return tuple(sizes) if all(sizes) else ()
