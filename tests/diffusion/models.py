"""The bundled model and specs for it, as several tests need them."""

import dataclasses
import functools
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

from benchmarks.parity import SPEC, bundled_variant
from farm.diffusion.noise import Latents
from farm.diffusion.pipeline import Rendered
from farm.domain import (
    AttentionVariant,
    ChipClass,
    ComputeUnit,
    ModelVariant,
    Provenance,
    RenderSpec,
)


@functools.cache
def shapes() -> ModelVariant:
    """The bundled model in its ORIGINAL form."""
    with tempfile.TemporaryDirectory() as folder:
        return bundled_variant(Path(folder) / "digests.json")


def spec(**changes: Any) -> RenderSpec:
    """A render of four steps, but for `changes`."""
    return dataclasses.replace(SPEC, **{"steps": 4, **changes})


def finish(steps: Generator[Latents, None, Rendered]) -> tuple[list[Latents], Rendered]:
    """Runs a render to its end: the latents after each step, and the result."""
    latents = []
    while True:
        try:
            latents.append(next(steps))
        except StopIteration as end:
            return latents, end.value


PROVENANCE = Provenance(
    model="shapes",
    model_digest="sha256:0123456789abcdef",
    attention=AttentionVariant.SPLIT_EINSUM,
    runtime="portable",
    compute_unit=ComputeUnit.CPU_AND_NE,
    chip="Apple M2 Pro",
    chip_class=ChipClass.ANE,
    versions={"farm": "0.1.0", "onnxruntime": "1.30"},
)
