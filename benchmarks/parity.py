"""The farm's pipeline against diffusers' own, with the bundled weights, step by step.

Both render the same spec from the same seed: the farm from its packages, diffusers from the checkpoint that they were
converted from, in torch and float32. A sampler agrees if its latents stay within 1e-2 of diffusers' (relative L2) at
every step and its pixels within 40 dB. So that a passed check means something, four broken pipelines are put to it as
well, and it must refuse them.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import report
from farm.catalogue.catalogue import BUNDLED, Catalogue
from farm.diffusion.noise import Latents, TorchRandomSource
from farm.diffusion.pipeline import Pipeline
from farm.diffusion.samplers import SAMPLERS
from farm.domain import AttentionVariant, ComputeUnit, DiffusionConfig, ModelVariant, RenderSpec
from farm.runtime.base import Array, LoadedModel, Runtime, TensorSpec

CHECKPOINT = Path(__file__).parent.parent / "examples" / "shapes" / "model"

PREDICTIONS = ("epsilon", "v_prediction", "sample")

LATENT_ERROR_GOAL = 1e-2
PSNR_GOAL = 40.0

SPEC = RenderSpec(
    prompt="a large yellow star on a blue background",
    negative_prompt="a red circle",
    seed=1234,
    width=64,
    height=64,
    steps=20,
    guidance_scale=3.0,
    sampler="dpmpp-2m",
)


@dataclass(frozen=True, slots=True)
class Trace:
    """One render: the latents after each step in the form x0 + sigma·noise, and the pixels."""

    latents: Sequence[Latents]
    pixels: NDArray[np.uint8]


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


@dataclass(frozen=True, slots=True)
class Reference:
    """The scheduler of diffusers that a sampler follows.

    Attributes:
        scheduler: Name of its class.
        variance_preserving: Whether its latents are (x0 + sigma·noise) / √(1 + sigma²).
        settings: What it is told beside the model's noise schedule.
        step_ends: Indices of those of its calls that end a step, from the number of steps.
        predictions: What networks may predict for it. It gets the epsilon that follows from what others predict.
    """

    scheduler: str
    variance_preserving: bool
    settings: Mapping[str, Any] = field(default_factory=dict)
    step_ends: Callable[[int], Iterable[int]] = range
    predictions: tuple[str, ...] = PREDICTIONS


def _family(name: str, reference: Reference) -> dict[str, Reference]:
    """The references of a sampler at its three spacings."""
    spacings = {"": {}, "-karras": {"use_karras_sigmas": True}, "-exponential": {"use_exponential_sigmas": True}}
    return {
        name + suffix: dataclasses.replace(reference, settings={**reference.settings, **setting})
        for suffix, setting in spacings.items()
    }


# What Stable Diffusion's own configurations say; the defaults of these classes are other models'.
_STABLE_DIFFUSION = {"set_alpha_to_one": False, "steps_offset": 1}

REFERENCES: Mapping[str, Reference] = {
    "ddim": Reference("DDIMScheduler", True, _STABLE_DIFFUSION | {"clip_sample": False}),
    **_family("euler", Reference("EulerDiscreteScheduler", False)),
    "euler-ancestral": Reference("EulerAncestralDiscreteScheduler", False, predictions=("epsilon", "v_prediction")),
    # Heun's method calls twice a step, but once in the last.
    **_family(
        "heun",
        Reference("HeunDiscreteScheduler", False, step_ends=lambda steps: (*range(1, 2 * steps - 2, 2), 2 * steps - 2)),
    ),
    **_family("dpmpp-2m", Reference("DPMSolverMultistepScheduler", True)),
    **_family("dpmpp-2m-sde", Reference("DPMSolverMultistepScheduler", True, {"algorithm_type": "sde-dpmsolver++"})),
    **_family("lms", Reference("LMSDiscreteScheduler", False)),
    # Its first step calls twice. Of networks that predict v it averages v's of unlike noise levels, which the paper
    # does not, so it gets their epsilon.
    "pndm": Reference(
        "PNDMScheduler",
        True,
        _STABLE_DIFFUSION | {"skip_prk_steps": True},
        step_ends=lambda steps: range(1, steps + 1),
        predictions=("epsilon",),
    ),
    **_family("unipc", Reference("UniPCMultistepScheduler", True)),
    "lcm": Reference("LCMScheduler", True),
}
"""References by sampler. diffusers has none for dpmpp-2s-ancestral; the tests put its steps to its parts there."""


def bundled_variant(cache: Path, attention: AttentionVariant = AttentionVariant.ORIGINAL) -> ModelVariant:
    """The bundled model in one form of attention; `cache` is where its digest is remembered."""
    variants = Catalogue([BUNDLED], cache).get("shapes").variants
    return next(variant for variant in variants if variant.attention is attention)


def make_scheduler(reference: Reference, config: DiffusionConfig) -> Any:
    """Makes diffusers' scheduler for a model, or for the epsilon that follows from what the model predicts."""
    import diffusers

    return getattr(diffusers, reference.scheduler)(
        num_train_timesteps=config.train_steps,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule=config.beta_schedule,
        prediction_type=config.prediction_type if config.prediction_type in reference.predictions else "epsilon",
        **reference.settings,
    )


class DiffusersPipeline:
    """diffusers' own pipeline over the bundled checkpoint."""

    def __init__(self, checkpoint: Path = CHECKPOINT) -> None:
        import torch
        from diffusers import StableDiffusionPipeline

        self._pipeline = StableDiffusionPipeline.from_pretrained(
            checkpoint, torch_dtype=torch.float32, safety_checker=None
        )
        self._pipeline.set_progress_bar_config(disable=True)

    def trace(self, spec: RenderSpec, config: DiffusionConfig) -> Trace:
        """Renders `spec` with the reference of its sampler."""
        import torch

        reference = REFERENCES[spec.sampler]
        self._pipeline.scheduler = make_scheduler(reference, config)
        calls: list[Latents] = []

        def keep(_pipeline: Any, _step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            calls.append(tensors["latents"].numpy().copy())
            return tensors

        result = self._pipeline(
            spec.prompt,
            negative_prompt=spec.negative_prompt,
            width=spec.width,
            height=spec.height,
            num_inference_steps=spec.steps,
            guidance_scale=spec.guidance_scale,
            generator=torch.Generator().manual_seed(spec.seed),
            callback_on_step_end=keep,
            output_type="np",
        )
        latents = [calls[index] for index in reference.step_ends(spec.steps)]
        if reference.variance_preserving:
            sigmas = SAMPLERS[spec.sampler].schedule(config, spec.steps).sigmas[1:]
            latents = [x * np.float32(math.hypot(sigma, 1.0)) for x, sigma in zip(latents, sigmas, strict=True)]
        return Trace(latents, np.rint(result.images[0] * 255).astype(np.uint8))


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
    mean_square = float(np.mean((found.pixels.astype(np.float64) - wanted.pixels) ** 2))
    return Agreement(max(errors), math.inf if mean_square == 0 else 10 * math.log10(255**2 / mean_square))


@dataclass(frozen=True, slots=True)
class AlteredRuntime:
    """A runtime whose UNet is fed something else than the pipeline says, to show that the check notices."""

    runtime: Runtime
    alter: Callable[[dict[str, Array]], dict[str, Array]]

    @property
    def name(self) -> str:
        """The altered runtime's."""
        return self.runtime.name

    @property
    def compute_units(self) -> tuple[ComputeUnit, ...]:
        """The altered runtime's."""
        return self.runtime.compute_units

    @property
    def versions(self) -> Mapping[str, str]:
        """The altered runtime's."""
        return self.runtime.versions

    def load(self, package: Path, compute_unit: ComputeUnit) -> LoadedModel:
        """Loads a package; alters it if it is the UNet."""
        model = self.runtime.load(package, compute_unit)
        return _AlteredModel(model, self.alter) if "encoder_hidden_states" in model.inputs else model


@dataclass(frozen=True, slots=True)
class _AlteredModel:
    model: LoadedModel
    alter: Callable[[dict[str, Array]], dict[str, Array]]

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self.model.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return self.model.outputs

    def predict(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self.model.predict(self.alter(dict(feeds)))


def shift_timestep(feeds: dict[str, Array], shift: int = 10) -> dict[str, Array]:
    """Tells the UNet another timestep."""
    return feeds | {"timestep": feeds["timestep"] + np.float32(shift)}


def swap_guidance(feeds: dict[str, Array]) -> dict[str, Array]:
    """Puts the prompt where the negative prompt belongs, and the other way round."""
    return feeds | {"encoder_hidden_states": feeds["encoder_hidden_states"][::-1].copy()}


Make = Callable[[Runtime, ModelVariant], Pipeline]


def load(runtime: Runtime, variant: ModelVariant) -> Pipeline:
    """The pipeline as it is."""
    return Pipeline.load(variant, runtime, ComputeUnit.CPU_ONLY)


def _load_altered(
    alter: Callable[[dict[str, Array]], dict[str, Array]], runtime: Runtime, variant: ModelVariant
) -> Pipeline:
    return load(AlteredRuntime(runtime, alter), variant)


def _load_scaled(runtime: Runtime, variant: ModelVariant) -> Pipeline:
    config = dataclasses.replace(variant.config, scaling_factor=variant.config.scaling_factor * 1.1)
    return load(runtime, dataclasses.replace(variant, config=config))


BROKEN: Mapping[str, tuple[Make, Mapping[str, Any]]] = {
    "shifted timestep": (partial(_load_altered, shift_timestep), {}),
    "swapped guidance order": (partial(_load_altered, swap_guidance), {}),
    "another sampler": (load, {"sampler": "euler"}),
    "wrong scale factor": (_load_scaled, {}),
}
"""Pipelines that the check must refuse: how each is loaded, and what of the spec is changed for it."""


def main() -> None:
    """Prints the agreement of each sampler, and the disagreement of each broken pipeline."""
    import tempfile

    from farm.runtime.portable import PortableRuntime

    with tempfile.TemporaryDirectory() as cache:
        variant = bundled_variant(Path(cache) / "digests.json")
    runtime, diffusers = PortableRuntime(), DiffusersPipeline()
    pipeline = load(runtime, variant)
    for sampler, seed in itertools.product(REFERENCES, (1, 2, 3)):
        spec = dataclasses.replace(SPEC, sampler=sampler, seed=seed)
        _report(f"{sampler}, seed {seed}", compare(trace(pipeline, spec), diffusers.trace(spec, variant.config)))
    wanted = diffusers.trace(SPEC, variant.config)
    for fault, (make, changes) in BROKEN.items():
        agreement = compare(trace(make(runtime, variant), dataclasses.replace(SPEC, **changes)), wanted)
        report("parity", f"{fault} is refused", float(not agreement.holds), "yes = 1", 1.0,
               compared_with=f"latent error {agreement.latent_error:.2g}, {agreement.psnr:.1f} dB", smaller_is_better=False)  # fmt: skip


def _report(case: str, agreement: Agreement) -> None:
    reference = "diffusers' StableDiffusionPipeline, torch float32"
    report("parity", f"{case}: worst latent error of all steps", agreement.latent_error, "relative L2",
           LATENT_ERROR_GOAL, compared_with=reference)  # fmt: skip
    report("parity", f"{case}: pixels", min(agreement.psnr, 999.0), "dB PSNR",
           PSNR_GOAL, compared_with=reference, smaller_is_better=False)  # fmt: skip


if __name__ == "__main__":
    main()
