"""Builds small packages with coremltools and runs them: many operations in one package, one output each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.runtime.portable import load

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One use of an operation and what must come of it.

    Attributes:
        name: Operation, and what is special about this use.
        build: Builds it from the package's inputs with coremltools' builder.
        expected: Computes its value from the same inputs with another library.
        tolerance: Largest relative and absolute difference.
    """

    name: str
    build: Callable[[Any], Any]
    expected: Callable[[Any], Any]
    tolerance: float = 1e-5


def convert(body: Callable[..., Any], inputs: Mapping[str, Array], *, opset: str = "iOS17", fp16: bool = False) -> Any:
    """An ML program with the given body, as coremltools' model; nothing of it is folded or rewritten.

    Args:
        body: Takes the inputs by position and gives the outputs, with coremltools' builder.
        inputs: An array an input, for their names, shapes and types.
        opset: Version of the operations.
        fp16: Whether the program computes in fp16.
    """
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it
    from coremltools.converters.mil.mil import types

    kinds = {np.dtype(np.float32): types.fp32, np.dtype(np.int32): types.int32, np.dtype(np.float16): types.fp16}
    specs = [mb.TensorSpec(shape=array.shape, dtype=kinds[array.dtype]) for array in inputs.values()]
    names = ", ".join(inputs)
    named_body = eval(f"lambda {names}: body({names})", {"body": body})  # the builder names inputs after parameters
    target = getattr(ct.target, opset)
    program = mb.program(input_specs=specs, opset_version=target)(named_body)
    return ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=target,
        compute_precision=ct.precision.FLOAT16 if fp16 else ct.precision.FLOAT32,
        pass_pipeline=None if fp16 else ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )


def results_of(cases: Sequence[Case], inputs: Mapping[str, Array], *, opset: str = "iOS17") -> dict[str, Array]:
    """What the portable runtime computes for each case, by name; all of them in one package."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

    def body(*values: Any) -> Any:
        given = SimpleNamespace(**dict(zip(inputs, values, strict=True)))
        outputs = []
        for number, case in enumerate(cases):
            built = case.build(given)
            kind = built.dtype.__name__
            numeric = built if kind in ("fp32", "int32") else mb.cast(x=built, dtype="int32")
            outputs.append(mb.identity(x=numeric, name=f"case_{number}"))
        return outputs

    with TemporaryDirectory() as folder:
        path = Path(folder) / "cases.mlpackage"
        convert(body, inputs, opset=opset).save(str(path))
        outputs = load(path, threads=1).predict(inputs)
    return {case.name: outputs[f"case_{number}"] for number, case in enumerate(cases)}


def check(case: Case, results: Mapping[str, Array], inputs: Mapping[str, Array]) -> None:
    """Asserts that a case's result is what it must be: values and shape."""
    expected = np.asarray(case.expected(SimpleNamespace(**inputs)))
    result = results[case.name]
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=case.tolerance, atol=case.tolerance)
