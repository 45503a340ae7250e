"""The packages that come with the farm compute what their checkpoint does, and both forms the same."""

import math
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from farm.catalogue import Catalogue
from farm.convert.attention import SplitEinsumAttention
from farm.convert.check import TOLERANCE, difference, relative_difference, verify
from farm.convert.checkpoint import Checkpoint, load_folder
from farm.convert.components import components
from farm.diffusion.pipeline import Pipeline
from farm.domain import AttentionVariant, ComputeUnit, ModelVariant, RenderSpec
from farm.errors import ConversionError
from farm.runtime.portable import PortableRuntime, load
from tests.convert.checkpoints import SHAPES_CHECKPOINT

ROUNDING = 1e-3
"""What float16 weights cost, relative to the norm of the outputs."""


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[AttentionVariant, ModelVariant]:
    catalogue = Catalogue(cache=tmp_path_factory.mktemp("cache") / "digests.json")
    return {variant.attention: variant for variant in catalogue.get("shapes").variants}


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_folder(SHAPES_CHECKPOINT)


@pytest.mark.parametrize("attention", [AttentionVariant.ORIGINAL, AttentionVariant.SPLIT_EINSUM])
def test_each_package_computes_what_the_checkpoint_does(
    variants: dict[AttentionVariant, ModelVariant], checkpoint: Checkpoint, attention: AttentionVariant
) -> None:
    for component in components(checkpoint, attention):
        assert difference(component, variants[attention].components[component.name]) < ROUNDING, component.name


def use_wrong_scale(attention: SplitEinsumAttention) -> None:
    attention.scale = 1.0


def drop_a_head(attention: SplitEinsumAttention) -> None:
    with torch.no_grad():
        attention.out.weight[:, : attention.out.in_channels // attention.heads] = 0


@pytest.mark.parametrize("mistake", [use_wrong_scale, drop_a_head])
def test_a_package_that_computes_something_else_than_its_checkpoint_is_refused(
    variants: dict[AttentionVariant, ModelVariant],
    checkpoint: Checkpoint,
    mistake: Callable[[SplitEinsumAttention], None],
) -> None:
    package = variants[AttentionVariant.SPLIT_EINSUM].components["unet"]
    parts = components(checkpoint, AttentionVariant.SPLIT_EINSUM)
    (unet,) = (part for part in parts if part.name == "unet")
    assert verify(unet, package) < ROUNDING
    for module in unet.module.modules():
        if isinstance(module, SplitEinsumAttention):
            mistake(module)

    with pytest.raises(ConversionError, match="it would make other images"):
        verify(unet, package)


@pytest.mark.parametrize("step", [999.0, 500.0, 1.0])
def test_both_unets_predict_the_same_noise(variants: dict[AttentionVariant, ModelVariant], step: float) -> None:
    rng = np.random.default_rng(int(step))
    feeds: dict[str, NDArray[Any]] = {
        "sample": rng.standard_normal((2, 4, 8, 8), dtype=np.float32),
        "timestep": np.full(2, step, dtype=np.float32),
        "encoder_hidden_states": rng.standard_normal((2, 96, 1, 77), dtype=np.float32),
    }
    original, split = (load(variant.components["unet"]).predict(feeds)["noise_pred"] for variant in variants.values())

    assert relative_difference(split, original) < ROUNDING
    assert relative_difference(original[:1], original[1:]) > TOLERANCE, "the prompt and the latents count"


def render(variant: ModelVariant, prompt: str) -> NDArray[np.uint8]:
    pipeline = Pipeline.load(variant, PortableRuntime(threads=1), ComputeUnit.CPU_ONLY)
    spec = RenderSpec(prompt, "", seed=3, width=64, height=64, steps=10, guidance_scale=2.0, sampler="dpmpp-2m")
    steps: Generator[Any, None, Any] = pipeline.render(spec)
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            pixels: NDArray[np.uint8] = finished.value.pixels
            return pixels


def psnr(found: NDArray[np.uint8], expected: NDArray[np.uint8]) -> float:
    error = np.square(found.astype(np.float64) - expected).mean()
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def test_both_variants_draw_the_same_picture(variants: dict[AttentionVariant, ModelVariant]) -> None:
    original, split = (render(variant, "a yellow star on a blue background") for variant in variants.values())
    other = render(variants[AttentionVariant.SPLIT_EINSUM], "a yellow ring on a blue background")

    assert psnr(split, original) > 40
    assert psnr(other, original) < 25, "another prompt gives another picture"
