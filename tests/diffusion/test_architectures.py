"""Small random models of each architecture, converted here, beside diffusers' own pipelines over the same weights."""

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.architectures import ARCHITECTURES, Reference, init_image, spec_for
from benchmarks.parity import PSNR_GOAL
from benchmarks.psnr import psnr
from benchmarks.small_models import convert, make_checkpoint
from farm.diffusion import prompt_encoder
from farm.diffusion.components import Unet
from farm.diffusion.noise import TorchRandomSource
from farm.diffusion.pipeline import Pipeline
from farm.domain import AttentionVariant, ComputeUnit, DiffusionConfig, ModelVariant, RenderSpec
from farm.runtime.portable import PortableRuntime
from tests.diffusion.models import finish

pytestmark = [
    pytest.mark.timeout(900),  # conversions take seconds, and minutes on a machine that is busy
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

QUICK = {
    "SD 2.x, v prediction": AttentionVariant.SPLIT_EINSUM,
    "SDXL base with refiner": AttentionVariant.ORIGINAL,
    "LCM": AttentionVariant.ORIGINAL,
    "SDXS-512": AttentionVariant.SPLIT_EINSUM,
}
"""Architectures that between them hold all there is, and a form of attention for each; the others are slow tests."""

FLOAT16_GOAL = 30.0
CONTRAST = 0.1

FOLDER = TemporaryDirectory(prefix="farm-architectures-")
"""Converted models of this session."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """A converted model, and the reference over the checkpoint that it was converted from."""

    variant: ModelVariant
    reference: Reference

    def found(self, spec: RenderSpec, **config: Any) -> NDArray[np.uint8]:
        """Pixels of the farm's pipeline; `config` makes it another model's."""
        variant = dataclasses.replace(self.variant, config=dataclasses.replace(self.variant.config, **config))
        pipeline = Pipeline.load(variant, PortableRuntime(threads=1), ComputeUnit.CPU_ONLY)
        return finish(pipeline.render(spec, TorchRandomSource))[1].pixels

    def wanted(self, spec: RenderSpec) -> NDArray[np.uint8]:
        """Pixels of diffusers' pipeline."""
        return self.reference.render(spec, self.variant.config)


@cache
def pair(name: str, attention: AttentionVariant, precision: str) -> Pair:
    architecture = ARCHITECTURES[name]
    folder = Path(FOLDER.name) / f"{name} {attention.name} {precision}".replace(" ", "-")
    refiner = None
    if architecture.refined_by:
        refiner = make_checkpoint(ARCHITECTURES[architecture.refined_by], folder / "refiner")
    variant = convert(architecture, folder, attention, precision, refiner)
    return Pair(variant, Reference(architecture, folder / "checkpoint", refiner))


def quick(name: str) -> Pair:
    return pair(name, QUICK[name], "float32")


def check(name: str, attention: AttentionVariant, precision: str, goal: float) -> None:
    spec = spec_for(ARCHITECTURES[name])
    models = pair(name, attention, precision)
    wanted = models.wanted(spec)

    assert wanted.std() / 255 >= CONTRAST
    assert psnr(models.found(spec), wanted) >= goal


@pytest.mark.parametrize(("name", "attention"), QUICK.items())
def test_a_model_draws_what_its_reference_draws(name: str, attention: AttentionVariant) -> None:
    check(name, attention, "float32", PSNR_GOAL)


@pytest.mark.slow
@pytest.mark.parametrize("attention", [AttentionVariant.ORIGINAL, AttentionVariant.SPLIT_EINSUM])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_model_draws_what_its_reference_draws_in_both_precisions(name: str, attention: AttentionVariant) -> None:
    check(name, attention, "float32", PSNR_GOAL)
    check(name, attention, "float16", FLOAT16_GOAL)


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "goal"), [(8, 40.0), (6, 30.0), (4, 20.0)])
def test_a_model_with_its_weights_in_palettes_draws_nearly_the_same(bits: int, goal: float, tmp_path: Path) -> None:
    architecture = ARCHITECTURES["SD 1.x"]
    variant = convert(architecture, tmp_path, AttentionVariant.ORIGINAL, "float16", palette_bits=bits)
    models = Pair(variant, Reference(architecture, tmp_path / "checkpoint"))
    spec = spec_for(architecture)

    assert variant.precision == f"palettized-{bits}"
    assert psnr(models.found(spec), models.wanted(spec)) >= goal


def test_an_image_starts_from_a_picture_as_in_diffusers() -> None:
    models = quick("SDXS-512")
    spec = dataclasses.replace(spec_for(ARCHITECTURES["SDXS-512"]), steps=4, init_image=init_image(), strength=0.6)

    assert psnr(models.found(spec), models.wanted(spec)) >= PSNR_GOAL


def test_latents_of_a_picture_are_drawn_from_their_mean_and_variance_as_in_diffusers() -> None:
    models = quick("SD 2.x, v prediction")
    base = dataclasses.replace(spec_for(ARCHITECTURES["SD 2.x, v prediction"]), init_image=init_image())
    for sampler, strength in (("euler", 0.3), ("dpmpp-2m", 0.75), ("ddim", 1.0)):
        spec = dataclasses.replace(base, sampler=sampler, strength=strength)
        assert psnr(models.found(spec), models.wanted(spec)) >= PSNR_GOAL, sampler


def test_an_empty_negative_prompt_of_sdxl_means_zeros_and_another_one_is_read() -> None:
    name = "SDXL base with refiner"
    models = quick(name)
    for negative_prompt in ("", "a red circle"):
        spec = spec_for(ARCHITECTURES[name], negative_prompt=negative_prompt)
        assert psnr(models.found(spec), models.wanted(spec)) >= PSNR_GOAL


def swapped_ids(count: int, width: int, height: int, *, is_negative: bool) -> NDArray[np.float32]:
    return real_time_ids(count, height, width, is_negative=is_negative)


real_time_ids = prompt_encoder.time_ids


def first_hidden_first(hidden: Any, unet: Unet) -> Any:
    chosen = real_joined([*hidden][::-1], unet)
    return real_joined(hidden, unet) if chosen.shape[1] != unet.widths["encoder_hidden_states"] else chosen


real_joined = prompt_encoder._joined

MISTAKES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "time ids with width and height swapped": ("SDXL base with refiner", {}, {}, {"time_ids": swapped_ids}),
    "text encoders in the wrong order": ("SDXL base with refiner", {}, {}, {"_joined": first_hidden_first}),
    "padding of the second tokenizer": ("SDXL base with refiner", {"pad_token_2": "<|endoftext|>"}, {}, {}),
    "hidden states where zeros belong": ("SDXL base with refiner", {"force_zeros_for_empty_prompt": False}, {}, {}),
    "scale factor of SD 1.x for SDXL": ("SDXL base with refiner", {"scaling_factor": 0.18215}, {}, {}),
    "a refiner that begins too early": ("SDXL base with refiner", {"refiner_start": 0.5}, {}, {}),
    "epsilon for v": ("SD 2.x, v prediction", {"prediction_type": "epsilon"}, {}, {}),
    "padding of SD 1.x for SD 2.x": ("SD 2.x, v prediction", {"pad_token": "<|endoftext|>"}, {}, {}),
    "guidance of another scale": ("LCM", {}, {"guidance_scale": 7.5}, {}),
    "steps that end too early": ("SDXS-512", {"timestep_spacing": "usual", "train_steps": 990}, {}, {}),
}
"""Model, what is wrong in its config, in the spec, and in `farm.diffusion.prompt_encoder`."""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_usual_mistake_shows(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, config, changes, replaced = MISTAKES[mistake]
    models = quick(name)
    spec = spec_for(ARCHITECTURES[name])
    for function, wrong in replaced.items():
        monkeypatch.setattr(prompt_encoder, function, wrong)

    assert psnr(models.found(dataclasses.replace(spec, **changes), **config), models.wanted(spec)) < PSNR_GOAL


def test_swapped_guidance_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    models = quick("SD 2.x, v prediction")
    spec = spec_for(ARCHITECTURES["SD 2.x, v prediction"])
    condition: Callable[..., None] = Unet.condition
    monkeypatch.setattr(Unet, "condition", lambda unet, told: condition(unet, told[::-1]))

    assert psnr(models.found(spec), models.wanted(spec)) < PSNR_GOAL


def test_the_packages_say_what_a_model_takes() -> None:
    lcm = quick("LCM").variant
    assert lcm.components.keys() == {"text_encoder", "unet", "vae_decoder", "vae_encoder"}
    xl = quick("SDXL base with refiner").variant
    assert xl.components.keys() == lcm.components.keys() | {"text_encoder_2", "refiner"}
    assert xl.config == DiffusionConfig(scaling_factor=0.13025, force_zeros_for_empty_prompt=True)
