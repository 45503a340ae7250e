"""Reads what a compiled model (`.mlmodelc`) says of itself in its `metadata.json`.

Nobody but Core ML can run it, but its inputs, outputs, operations and precision are there in plain words.

Shapes are strings such as "[2, 768, 1, 77]". They come from wherever the model was downloaded, so they are parsed by a
pattern and never evaluated.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.errors import PackageError
from farm.mil.features import Feature

SUFFIX = ".mlmodelc"

_SHAPE = re.compile(r"\s*\[\s*((?:\d{1,9}\s*,\s*)*\d{1,9})?\s*\]\s*")
_TYPES = {
    "Float16": "float16",
    "Float32": "float32",
    "Double": "float64",
    "Int32": "int32",
    "Int8": "int8",
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a compiled model says of itself.

    Attributes:
        inputs: Declared inputs.
        outputs: Declared outputs; their shapes are mostly left open.
        operations: How often each operation is used, by its name with its opset ("Ios16.einsum"); empty for a pipeline
            of models.
        precision: How the weights are stored, in Core ML's words, for example "Mixed (Float16, Palettized (6 bits))".
    """

    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    operations: Mapping[str, int]
    precision: str


def is_compiled(path: Path) -> bool:
    """Whether a path names a compiled model."""
    return path.suffix == SUFFIX


def read_compiled(path: Path) -> Compiled:
    """Reads the `metadata.json` of a compiled model.

    Raises:
        PackageError: It is missing, or is not what Core ML's compiler writes.
    """
    try:
        (content,) = json.loads((path / "metadata.json").read_text(encoding="utf-8"))
        return Compiled(
            inputs=tuple(map(_feature, content["inputSchema"])),
            outputs=tuple(map(_feature, content["outputSchema"])),
            operations={str(name): int(n) for name, n in content.get("mlProgramOperationTypeHistogram", {}).items()},
            precision=str(content.get("storagePrecision", "")),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PackageError(
            f"{path} has no readable metadata.json ({type(error).__name__}: {error}), so nobody can tell what it "
            "takes. It is damaged or incomplete; fetch it again, or get the .mlpackage that it was compiled from.",
            path=str(path),
        ) from error


def parse_shape(text: str) -> tuple[int, ...]:
    """Reads a shape as Core ML's compiler writes it; "" and "[]" leave it open.

    Raises:
        ValueError: It is something else than a list of sizes.
    """
    match = _SHAPE.fullmatch(text or "[]")
    if match is None:
        raise ValueError(f"{text[:80]!r} is not a shape")
    return tuple(int(size) for size in match[1].split(",")) if match[1] else ()


def _feature(declared: Mapping[str, Any]) -> Feature:
    if declared.get("type") != "MultiArray":
        return Feature(name=str(declared["name"]), kind=str(declared.get("type", "no")))
    return Feature(
        name=str(declared["name"]),
        kind="multiArray",
        dtype=_TYPES[declared["dataType"]],
        shape=parse_shape(declared.get("shape", "")),
    )
