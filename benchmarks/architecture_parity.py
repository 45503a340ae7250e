"""Each architecture with each sampler that it supports, beside diffusers; a part of `benchmarks.parity`.

Small random models are made and converted here, once with float32 packages of one form of attention and once with
float16 packages of the other, so that both forms and both precisions are covered.
"""

import dataclasses
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.architectures import ARCHITECTURES, SOLVERS, Architecture, Reference, spec_for
from benchmarks.psnr import psnr
from benchmarks.report import report
from benchmarks.small_models import convert, make_checkpoint
from farm.diffusion.noise import TorchRandomSource
from farm.diffusion.pipeline import Pipeline
from farm.domain import AttentionVariant, ComputeUnit, RenderSpec
from farm.runtime.portable import PortableRuntime

FORMS = {
    "float32": (AttentionVariant.ORIGINAL, 40.0),
    "float16": (AttentionVariant.SPLIT_EINSUM, 30.0),
}
"""Precisions of packages, with the form of attention to try them in and the goal in dB."""

CONTRAST = 0.1
"""Standard deviation that a reference's pixels must have, from 0 to 1, so that agreeing with it means something."""

OUT_OF_REACH = 1000.0
"""Goal in dB where a reference has too little contrast."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One sampler with one architecture.

    Attributes:
        psnr: Of the farm's pixels, in dB.
        contrast: Standard deviation of the reference's pixels, from 0 to 1.
    """

    psnr: float
    contrast: float


def compare_all() -> Iterator[tuple[str, str, str, Comparison]]:
    """Gives architecture, sampler, precision and how they compare; reports each."""
    with tempfile.TemporaryDirectory(prefix="farm-parity-") as folder:
        for name, architecture in ARCHITECTURES.items():
            for precision, (attention, goal) in FORMS.items():
                place = Path(folder) / f"{name} {precision}".replace(" ", "-")
                for sampler, found in _compare(architecture, place, attention, precision):
                    case = f"{name}, {sampler}, {precision} {attention.value}"
                    against = f"diffusers in torch float32, whose pixels vary by {found.contrast:.2f}"
                    report("parity", f"{case}: pixels", min(found.psnr, 999.0), "dB PSNR",
                           goal if found.contrast >= CONTRAST else OUT_OF_REACH,
                           compared_with=against, smaller_is_better=False)  # fmt: skip
                    yield name, sampler, precision, found


def _compare(
    architecture: Architecture, folder: Path, attention: AttentionVariant, precision: str
) -> Iterator[tuple[str, Comparison]]:
    refiner = None
    if architecture.refined_by:
        refiner = make_checkpoint(ARCHITECTURES[architecture.refined_by], folder / "refiner")
    variant = convert(architecture, folder, attention, precision, refiner)
    reference = Reference(architecture, folder / "checkpoint", refiner)
    pipeline = Pipeline.load(variant, PortableRuntime(), ComputeUnit.CPU_ONLY)
    for sampler in architecture.samplers:
        spec = dataclasses.replace(spec_for(architecture), sampler=sampler)
        wanted = reference.render(spec, variant.config)
        yield sampler, Comparison(psnr(_render(pipeline, spec), wanted), float(wanted.std()) / 255)


def _render(pipeline: Pipeline, spec: RenderSpec) -> NDArray[np.uint8]:
    steps = pipeline.render(spec, TorchRandomSource)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            pixels: NDArray[np.uint8] = end.value.pixels
            return pixels


def table(rows: list[tuple[str, str, str, Comparison]]) -> str:
    """The comparisons as Markdown: a column an architecture, a line a sampler."""
    found = {(name, sampler, precision): comparison for name, sampler, precision, comparison in rows}
    lines = [f"| sampler | {' | '.join(ARCHITECTURES)} |", f"|---|{'---|' * len(ARCHITECTURES)}"]
    for sampler in SOLVERS:
        cells = []
        for name in ARCHITECTURES:
            figures = [_figure(found.get((name, sampler, precision))) for precision in FORMS]
            drawn = found.get((name, sampler, "float32"))
            cells.append(f"{' / '.join(figures)} ({drawn.contrast:.2f})" if drawn else "")
        lines.append(f"| {sampler} | {' | '.join(cells)} |")
    least = min(comparison.contrast for comparison in found.values())
    return _PREFACE + "\n".join(lines) + f"\n\nThe reference with the least contrast has {least:.2f}.\n"


def _figure(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    return "equal" if comparison.psnr > 200 else f"{comparison.psnr:.0f}"


_PREFACE = f"""
## Architectures

Small models of each architecture with random weights, made by diffusers and transformers, converted, rendered by
the portable runtime, and compared with diffusers' own pipeline in torch float32 on the same seed. Each cell holds
the PSNR of the pixels in dB, with float32 packages of the ORIGINAL form / with float16 packages of the SPLIT_EINSUM
form ("equal" if every pixel is), and in brackets the standard deviation of the reference's pixels, from 0 to 1.
Goals are 40 and 30 dB, with references that vary by at least {CONTRAST}. Empty cells: that sampler is not used with
that model, or diffusers' own differs from the paper there. The latter holds twice: its PNDM averages v's of
different noise levels; and when it starts in the middle of its schedule, as for images that start from a picture,
it starts one step early and gives the network other steps than those of its latents. When diffusers' LMS starts
there, it weighs slopes that it does not have; for this table it is corrected to weigh those that it has
(uncorrected: 22 to 30 dB).

"""
