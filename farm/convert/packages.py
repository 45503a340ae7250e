"""A component, traced by torch and converted by coremltools, as an `.mlpackage` on disk.

The same weights give the same bytes, whenever and wherever they are converted with the same libraries: a model's digest
names what it computes, not when it was made.
"""

import contextlib
import json
import logging
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from farm.convert.components import Component

DATE_KEY = "com.github.apple.coremltools.conversion_date"
"""Metadata that coremltools writes and that would make each conversion differ from the one before."""


def save_package(component: Component, path: Path) -> None:
    """Converts a component to an ML program for macOS 13 and later, and writes it to `path`.

    Args:
        component: What to convert.
        path: Folder of the package, ending in ".mlpackage"; what is there is replaced.
    """
    examples = tuple(example.float() for example in component.inputs.values())
    with torch.no_grad(), quietly():
        traced = torch.jit.trace(  # type: ignore[no-untyped-call] # torch leaves it untyped
            component.module.eval(), examples, check_trace=False, strict=False
        )
        import coremltools as ct

        with _mended_coremltools():
            model = ct.convert(  # outputs are float32 whatever the precision, as Apple's converter declares them
                traced,
                inputs=[
                    ct.TensorType(name=name, shape=tuple(example.shape), dtype=example.numpy().dtype)
                    for name, example in component.inputs.items()
                ],
                outputs=[ct.TensorType(name=name, dtype=np.float32) for name in component.outputs],
                convert_to="mlprogram",
                minimum_deployment_target=ct.target.macOS13,
                compute_precision=ct.precision.FLOAT32
                if component.dtype is torch.float32
                else ct.transform.FP16ComputePrecision(op_selector=_keeps_its_meaning_in_float16),
                skip_model_load=True,
            )
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(str(path))
        make_reproducible(path)


def _keeps_its_meaning_in_float16(operation: Any) -> bool:
    """Whether an operation may be computed in float16: all but the sinusoidal embedding of steps and sizes.

    Its angles go up to 1,000, where float16 is a quarter of a radian coarse.
    """
    return not _feeds_a_sinusoid(operation, depth=3)


def _feeds_a_sinusoid(operation: Any, depth: int) -> bool:
    if operation.op_type in ("sin", "cos"):
        return True
    readers = [reader for output in operation.outputs for reader in output.child_ops] if depth else []
    return any(_feeds_a_sinusoid(reader, depth - 1) for reader in readers)


def make_reproducible(package: Path) -> None:
    """Takes time and chance out of a package: the date, random identifiers, the order of unordered fields."""
    from coremltools.proto import Model_pb2

    program = package / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = Model_pb2.Model.FromString(program.read_bytes())
    spec.description.metadata.userDefined.pop(DATE_KEY, None)
    program.write_bytes(spec.SerializeToString(deterministic=True))

    manifest_path = package / "Manifest.json"
    manifest = json.loads(manifest_path.read_text())
    identifiers = {
        old: str(uuid.uuid5(uuid.NAMESPACE_URL, item["path"])) for old, item in manifest["itemInfoEntries"].items()
    }
    manifest["itemInfoEntries"] = {identifiers[old]: item for old, item in manifest["itemInfoEntries"].items()}
    manifest["rootModelIdentifier"] = identifiers[manifest["rootModelIdentifier"]]
    manifest_path.write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n")


@contextlib.contextmanager
def _mended_coremltools() -> Iterator[None]:
    """Has coremltools 9 convert under numpy 2.4, and in little more than half the time."""
    from coremltools.converters.mil.frontend.torch import ops
    from coremltools.converters.mil.mil import Block
    from coremltools.converters.mil.mil.passes.pass_pipeline import PassPipelineManager

    with (
        _replaced(ops, "_cast", _scalar_cast(ops._cast)),
        _replaced(PassPipelineManager, "apply_pipeline", staticmethod(_apply_passes)),
        # Follows compressed weights through the whole program after each pass; what torch traces has none.
        _replaced(Block, "_propagate_nonreplaceable_vars", lambda _block: None),
    ):
        yield


def _scalar_cast(original: Callable[[Any, Any, type, str], None]) -> Callable[[Any, Any, type, str], None]:
    """A translation of `int(x)` and `bool(x)` that takes constant arrays of shape (1,).

    coremltools calls Python's `int` on them, which numpy allows for arrays without dimensions only since 2.4 ("only
    0-dimensional arrays can be converted to Python scalars"). Everything else is left to the original.
    """
    from coremltools.converters.mil import Builder

    def cast(context: Any, node: Any, dtype: type, dtype_name: str) -> None:
        value = context[node.inputs[0]].val
        if isinstance(value, np.ndarray) and value.ndim > 0 and value.size == 1:
            context.add(Builder.const(val=dtype(value.item()), name=node.name), node.name)
        else:
            original(context, node, dtype, dtype_name)

    return cast


def _apply_passes(program: Any, pipeline: Any) -> None:
    """Applies coremltools' passes to a program.

    Its own loop checks the whole program after each of a hundred passes, which takes close to half of a conversion. The
    finished program is still checked, by coremltools when it writes it and by `farm.convert.check` in use.
    """
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    for name in pipeline.passes:
        graph_pass = PASS_REGISTRY[name]
        graph_pass.set_options(pipeline.get_options(name))
        graph_pass(program)


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Gives a module or a class another function for a while."""
    original = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keeps off the screen what the tracer says of shapes that are constant on purpose, and the libraries' chatter."""
    levels = {logger: logger.level for logger in map(logging.getLogger, ("coremltools", "transformers"))}
    try:
        for logger in levels:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
