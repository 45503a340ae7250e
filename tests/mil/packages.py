"""Small packages on disk, for tests that damage or load them."""

from pathlib import Path
from typing import Any

import numpy as np

from farm.mil.program import Program, read_programs
from tests.mil.cases import convert

WEIGHT = np.random.default_rng(7).standard_normal((6, 5)).astype(np.float32)


def save_linear(path: Path, *, weight: Any = WEIGHT, fp16: bool = False) -> Path:
    """A package with one input `x` of shape (4, n) and one output `y`, x times the weight's transpose, rectified."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

    def body(x: Any) -> Any:
        return mb.relu(x=mb.linear(x=x, weight=weight), name="y")

    convert(body, {"x": np.zeros((4, weight.shape[1]), np.float32)}, fp16=fp16).save(str(path))
    return path


def save_functions(path: Path, **weights: Any) -> Path:
    """A package of linear functions by the names of their weights, which differ; the first is the default."""
    from coremltools.models.utils import MultiFunctionDescriptor, save_multifunction

    description = MultiFunctionDescriptor()
    for name, weight in weights.items():
        part = save_linear(path.parent / "parts" / f"{name}.mlpackage", weight=weight)
        description.add_function(str(part), src_function_name="main", target_function_name=name)
    description.default_function_name = next(iter(weights))
    save_multifunction(description, str(path))
    return path


def read_program(package: Path) -> Program:
    """The program of a package that is no pipeline of several."""
    (program,) = read_programs(package)
    return program


def linear(x: Any, weight: Any = WEIGHT) -> Any:
    """What that package computes."""
    return np.maximum(x @ weight.T, 0)


def program_file(package: Path) -> Path:
    """The file that holds a package's program."""
    return package / "Data" / "com.apple.CoreML" / "model.mlmodel"


def weight_file(package: Path) -> Path:
    """The file that holds a package's weights."""
    return package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
