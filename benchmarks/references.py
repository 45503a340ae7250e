"""diffusers' own pipeline and schedulers, as the reference that the farm's samplers are held against."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from farm.diffusion.noise import Latents
from farm.diffusion.samplers import SAMPLERS
from farm.diffusion.schedule import training_sigmas
from farm.domain import DiffusionConfig, RenderSpec

CHECKPOINT = Path(__file__).parent.parent / "examples" / "shapes" / "model"

PredictionType = Literal["epsilon", "v_prediction", "sample"]
PREDICTIONS: tuple[PredictionType, ...] = get_args(PredictionType)


@dataclass(frozen=True, slots=True)
class Trace:
    """One render: the latents after each step in the form x0 + sigma·noise, and the pixels."""

    latents: Sequence[Latents]
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Reference:
    """The scheduler of diffusers that a sampler follows.

    Attributes:
        scheduler: Name of its class.
        variance_preserving: Whether its latents are (x0 + sigma·noise) / √(1 + sigma²).
        settings: What it is told beside the model's noise schedule.
        step_ends: Indices of those of its calls that end a step, from the number of steps.
        predictions: What networks may predict for it. It gets the epsilon that follows from what others predict.
        options: What it is told at each step.
    """

    scheduler: str
    variance_preserving: bool
    settings: Mapping[str, Any] = field(default_factory=dict)
    step_ends: Callable[[int], Iterable[int]] = range
    predictions: tuple[str, ...] = PREDICTIONS
    options: Mapping[str, Any] = field(default_factory=dict)


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
    "tcd": Reference("TCDScheduler", True, _STABLE_DIFFUSION, options={"eta": 1.0}),
}
"""References by sampler. diffusers has none for dpmpp-2s-ancestral; the tests put its steps to its parts there."""


def make_scheduler(reference: Reference, config: DiffusionConfig) -> Any:
    """Makes diffusers' scheduler for a model, or for the epsilon that follows from what the model predicts."""
    import diffusers

    scheduler = getattr(diffusers, reference.scheduler)(
        num_train_timesteps=config.train_steps,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule=config.beta_schedule,
        prediction_type=config.prediction_type if config.prediction_type in reference.predictions else "epsilon",
        **reference.settings,
        **({"timestep_spacing": "trailing"} if config.timestep_spacing == "trailing" else {}),
    )
    if reference.scheduler == "LMSDiscreteScheduler":
        _weigh_only_known_slopes(scheduler)
    return scheduler


def _weigh_only_known_slopes(scheduler: Any) -> None:
    """Mends diffusers' LMS where it begins in the middle of its schedule, as for images that start from a picture.

    It takes its order from the schedule's beginning, and so gives weight to slopes of steps that were never done.
    """
    step = scheduler.step

    def mended(output: Any, timestep: Any, x: Any, **more: Any) -> Any:
        return step(output, timestep, x, order=min(4, len(scheduler.derivatives) + 1), **more)

    scheduler.step = mended


def quiet() -> None:
    """Keeps what diffusers and transformers would say off the screen."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def predict_as(
    prediction_type: str, sample: Latents, timestep: float, epsilon: Latents, config: DiffusionConfig
) -> Latents:
    """What a network of another prediction type says where the bundled one predicts `epsilon`."""
    trained = training_sigmas(config)
    sigma = float(np.interp(timestep, np.arange(len(trained)), trained))
    alpha, spread = 1 / math.hypot(sigma, 1), sigma / math.hypot(sigma, 1)
    noise: Latents = spread * epsilon
    picture: Latents = (sample - noise) / alpha
    v: Latents = alpha * epsilon - spread * picture
    return {"epsilon": epsilon, "v_prediction": v, "sample": picture}[prediction_type]


class DiffusersPipeline:
    """diffusers' own pipeline over the bundled checkpoint."""

    def __init__(self, checkpoint: Path = CHECKPOINT) -> None:
        import diffusers
        import torch

        quiet()
        self._pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
            checkpoint, dtype=torch.float32, safety_checker=None
        )
        self._pipeline.set_progress_bar_config(disable=True)

    def render(self, spec: RenderSpec, config: DiffusionConfig) -> NDArray[np.uint8]:
        """Renders `spec` with the reference of its sampler, with nothing in its way; pixels (height, width, 3)."""
        self._pipeline.scheduler = make_scheduler(REFERENCES[spec.sampler], config)
        return self._run(spec)

    def _run(self, spec: RenderSpec, **more: Any) -> NDArray[np.uint8]:
        import torch

        result = self._pipeline(
            spec.prompt,
            negative_prompt=spec.negative_prompt,
            width=spec.width,
            height=spec.height,
            num_inference_steps=spec.steps,
            guidance_scale=spec.guidance_scale,
            generator=torch.Generator().manual_seed(spec.seed),
            output_type="np",
            **REFERENCES[spec.sampler].options,
            **more,
        )
        pixels: NDArray[np.uint8] = np.rint(result.images[0] * 255).astype(np.uint8)
        return pixels

    def trace(self, spec: RenderSpec, config: DiffusionConfig) -> Trace:
        """Renders `spec` with the reference of its sampler and keeps the latents of each step."""
        import torch

        reference = REFERENCES[spec.sampler]
        self._pipeline.scheduler = make_scheduler(reference, config)
        prediction_type = self._pipeline.scheduler.config.prediction_type

        def convert(_unet: Any, given: tuple[Any, Any], _more: Any, output: tuple[Any]) -> tuple[Any]:
            sample, timestep = given[0].numpy(), float(given[1])
            predicted = predict_as(prediction_type, sample, timestep, output[0].numpy(), config)
            return (torch.from_numpy(predicted),)

        calls: list[Latents] = []

        def keep(_pipeline: Any, _step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            calls.append(tensors["latents"].numpy().copy())
            return tensors

        hook = self._pipeline.unet.register_forward_hook(convert, with_kwargs=True)
        pixels = self._run(spec, callback_on_step_end=keep)
        hook.remove()
        latents = [calls[index] for index in reference.step_ends(spec.steps)]
        if reference.variance_preserving:
            sigmas = SAMPLERS[spec.sampler].schedule(config, spec.steps).sigmas[1:]
            latents = [x * np.float32(math.hypot(sigma, 1.0)) for x, sigma in zip(latents, sigmas, strict=True)]
        return Trace(latents, pixels)
