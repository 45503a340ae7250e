"""The farm's pipeline against diffusers' own, with the bundled weights, step by step.

Both render the same spec from the same seed: the farm from its packages, diffusers from the checkpoint that they were
converted from, in torch and float32. A sampler agrees if its latents stay within 1e-2 of diffusers' (relative L2) at
every step and its pixels within 40 dB. So that a passed check means something, four broken pipelines are put to it as
well, and it must refuse them.

Small models of all architectures follow; see `benchmarks.architecture_parity`.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.architecture_parity import compare_all
from benchmarks.architecture_parity import table as architecture_table
from benchmarks.psnr import psnr
from benchmarks.references import PREDICTIONS, REFERENCES, DiffusersPipeline, PredictionType, Trace, predict_as
from benchmarks.report import report
from farm.catalogue.catalogue import BUNDLED, Catalogue
from farm.diffusion.noise import Latents, TorchRandomSource
from farm.diffusion.pipeline import Pipeline
from farm.domain import AttentionVariant, ComputeUnit, DiffusionConfig, ModelVariant, RenderSpec
from farm.runtime.base import Array, LoadedModel, Runtime, TensorSpec
from farm.runtime.portable import PortableRuntime

LATENT_ERROR_GOAL = 1e-2
PSNR_GOAL = 40.0

SEEDS = (1, 2, 3)

# Guidance is the bundled model's default. At 3, against a negative prompt, the solvers of fourth order (lms, pndm) are
# unstable with it, in diffusers too, and make a hundredfold of the rounding of the packages' float16 constants.
SPEC = RenderSpec(
    prompt="a large yellow star on a blue background",
    negative_prompt="a red circle",
    seed=1234,
    width=64,
    height=64,
    steps=20,
    guidance_scale=2.0,
    sampler="dpmpp-2m",
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a render is from its reference.

    Attributes:
        latent_error: Largest relative L2 distance of the latents at any step.
        psnr: Of the pixels, in dB; infinite where they are the same.
    """

    latent_error: float
    psnr: float

    @property
    def holds(self) -> bool:
        """Whether this counts as the same render."""
        return self.latent_error <= LATENT_ERROR_GOAL and self.psnr >= PSNR_GOAL


def bundled_variant(cache: Path, attention: AttentionVariant = AttentionVariant.ORIGINAL) -> ModelVariant:
    """The bundled model in one form of attention; `cache` is where its digest is remembered."""
    variants = Catalogue([BUNDLED], cache).get("shapes").variants
    return next(variant for variant in variants if variant.attention is attention)


def trace(pipeline: Pipeline, spec: RenderSpec) -> Trace:
    """Renders `spec` with the farm's pipeline."""
    steps = pipeline.render(spec, TorchRandomSource)
    latents: list[Latents] = []
    while True:
        try:
            latents.append(next(steps))
        except StopIteration as end:
            return Trace(latents, end.value.pixels)


def compare(found: Trace, wanted: Trace) -> Agreement:
    """Measures how far a render is from its reference."""
    errors = [
        float(np.linalg.norm(x - y) / np.linalg.norm(y)) for x, y in zip(found.latents, wanted.latents, strict=True)
    ]
    return Agreement(max(errors), psnr(found.pixels, wanted.pixels))


Predict = Callable[[Mapping[str, Array]], dict[str, Array]]
Alter = Callable[[Predict, Mapping[str, Array]], dict[str, Array]]
"""Predicts in another way than the model whose `predict` it is given."""


@dataclass(frozen=True, slots=True)
class AlteredRuntime:
    """A runtime whose UNet is another one than the package's."""

    runtime: Runtime
    alter: Alter

    @property
    def name(self) -> str:
        """The altered runtime's."""
        return self.runtime.name

    @property
    def compiles(self) -> bool:
        """The altered runtime's."""
        return self.runtime.compiles

    @property
    def compute_units(self) -> tuple[ComputeUnit, ...]:
        """The altered runtime's."""
        return self.runtime.compute_units

    @property
    def versions(self) -> Mapping[str, str]:
        """The altered runtime's."""
        return self.runtime.versions

    def load(self, package: Path, compute_unit: ComputeUnit, function: str | None = None) -> LoadedModel:
        """Loads a package; alters it if it is the UNet."""
        model = self.runtime.load(package, compute_unit, function)
        return _AlteredModel(model, self.alter) if "encoder_hidden_states" in model.inputs else model


@dataclass(frozen=True, slots=True)
class _AlteredModel:
    model: LoadedModel
    alter: Alter

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self.model.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return self.model.outputs

    def predict(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self.alter(self.model.predict, feeds)


def load(runtime: Runtime, variant: ModelVariant, alter: Alter | None = None) -> Pipeline:
    """Loads the farm's pipeline, with another UNet if `alter` is given."""
    return Pipeline.load(variant, AlteredRuntime(runtime, alter) if alter else runtime, ComputeUnit.CPU_ONLY)


def load_predicting(
    prediction_type: PredictionType, runtime: Runtime, variant: ModelVariant
) -> tuple[Pipeline, DiffusionConfig]:
    """Loads the farm's pipeline with a UNet that predicts something else, and says so."""
    config = dataclasses.replace(variant.config, prediction_type=prediction_type)

    def alter(predict: Predict, feeds: Mapping[str, Array]) -> dict[str, Array]:
        epsilon = predict(feeds)["noise_pred"]
        sample, timestep = feeds["sample"].astype(np.float32), float(feeds["timestep"].flat[0])
        return {"noise_pred": predict_as(prediction_type, sample, timestep, epsilon.astype(np.float32), config)}

    return load(runtime, dataclasses.replace(variant, config=config), alter), config


def shift_timestep(predict: Predict, feeds: Mapping[str, Array], shift: int = 10) -> dict[str, Array]:
    """Tells the UNet another timestep."""
    return predict({**feeds, "timestep": feeds["timestep"].astype(np.float32) + np.float32(shift)})


def swap_guidance(predict: Predict, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Puts the prompt where the negative prompt belongs, and the other way round."""
    return predict({**feeds, "encoder_hidden_states": feeds["encoder_hidden_states"][::-1].copy()})


def render_broken(runtime: Runtime, variant: ModelVariant, spec: RenderSpec) -> dict[str, Trace]:
    """Renders of four broken pipelines, which the check must refuse."""
    scaled = dataclasses.replace(variant, config=dataclasses.replace(variant.config, scaling_factor=0.18215))
    other = next(name for name in ("euler", "ddim") if name != spec.sampler)
    return {
        "shifted timestep": trace(load(runtime, variant, shift_timestep), spec),
        "swapped guidance order": trace(load(runtime, variant, swap_guidance), spec),
        "another sampler": trace(load(runtime, variant), dataclasses.replace(spec, sampler=other)),
        "wrong scale factor": trace(load(runtime, scaled), spec),
    }


def main() -> None:
    """Prints the agreement of each sampler and the refusal of each broken pipeline; writes the table if asked to."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--table", type=Path, help="file to write the agreements to, as Markdown")
    table_file: Path | None = arguments.parse_args().table

    with tempfile.TemporaryDirectory() as cache:
        variant = bundled_variant(Path(cache) / "digests.json")
    runtime, reference = PortableRuntime(), DiffusersPipeline()
    rows = []
    for prediction_type in PREDICTIONS:
        pipeline, config = load_predicting(prediction_type, runtime, variant)
        for sampler in REFERENCES:
            specs = [dataclasses.replace(SPEC, sampler=sampler, seed=seed) for seed in SEEDS]
            agreements = [compare(trace(pipeline, spec), reference.trace(spec, config)) for spec in specs]
            worst = Agreement(max(a.latent_error for a in agreements), min(a.psnr for a in agreements))
            _report(f"{sampler}, {prediction_type}", worst)
            rows.append((sampler, prediction_type, worst))
    wanted = reference.trace(SPEC, variant.config)
    for fault, render in render_broken(runtime, variant, SPEC).items():
        refused = compare(render, wanted)
        measured = f"latent error {refused.latent_error:.2g}, {refused.psnr:.1f} dB"
        report("parity", f"{fault} is refused", float(not refused.holds), "1 if refused", 1.0,
               compared_with=measured, smaller_is_better=False)  # fmt: skip
    architectures = list(compare_all())
    if table_file:
        table_file.write_text(_table(rows) + architecture_table(architectures), encoding="utf-8")


def _report(case: str, worst: Agreement) -> None:
    against = "diffusers' StableDiffusionPipeline, torch float32"
    report("parity", f"{case}: latents, worst of all steps and seeds", worst.latent_error, "relative L2",
           LATENT_ERROR_GOAL, compared_with=against, repeats=len(SEEDS))  # fmt: skip
    report("parity", f"{case}: pixels, worst of all seeds", min(worst.psnr, 999.0), "dB PSNR",
           PSNR_GOAL, compared_with=against, repeats=len(SEEDS), smaller_is_better=False)  # fmt: skip


def _table(rows: Iterable[tuple[str, str, Agreement]]) -> str:
    by_sampler: dict[str, list[str]] = {}
    for sampler, _, worst in rows:
        by_sampler.setdefault(sampler, []).append(f"{worst.latent_error:.1e}, {worst.psnr:.0f} dB")
    header = f"| sampler | {' | '.join(PREDICTIONS)} |\n|---|{'---|' * len(PREDICTIONS)}\n"
    return (
        _TABLE_PREFACE + header + "".join(f"| {name} | {' | '.join(cells)} |\n" for name, cells in by_sampler.items())
    )


_TABLE_PREFACE = f"""\
# Agreement with diffusers

Generated by `python -m benchmarks.parity --table docs/parity.md`: the bundled model through the portable runtime,
compared with diffusers' pipeline in torch float32, at {SPEC.steps} steps and guidance {SPEC.guidance_scale:g}. Each
cell holds the worst of {len(SEEDS)} seeds: relative L2 distance of the latents at any step, and PSNR of the pixels.

The network predicts epsilon; for the other types, its predictions are converted. diffusers has no dpmpp-2s-ancestral;
the tests assemble its steps from those of diffusers' singlestep solver.

"""


if __name__ == "__main__":
    main()
