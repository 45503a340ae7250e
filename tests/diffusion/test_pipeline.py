import dataclasses
import io
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from farm.diffusion.noise import TorchRandomSource
from farm.diffusion.pipeline import Pipeline
from farm.diffusion.samplers import SAMPLERS
from farm.domain import ComputeUnit
from farm.errors import ImageFailedError, PipelineError
from farm.reports import Stage
from farm.runtime.portable import PortableRuntime
from tests.diffusion.models import finish, shapes, spec
from tests.diffusion.torch_runtime import TorchModel, TorchRuntime, constant_output


@cache
def bundled() -> Pipeline:
    return Pipeline.load(shapes(), PortableRuntime(threads=1), ComputeUnit.CPU_ONLY)


def counting(calls: list[str], component: str) -> Callable[[TorchModel], TorchModel]:
    def altered(model: TorchModel) -> TorchModel:
        def run(**feeds: Any) -> Any:
            calls.append(component)
            return model.run(**feeds)

        return dataclasses.replace(model, run=run)

    return altered


def test_the_bundled_model_draws_what_the_prompt_says() -> None:
    _, rendered = finish(bundled().render(spec(prompt="a large red circle on a white background", steps=20)))

    corner, centre = rendered.pixels[2, 2].astype(int), rendered.pixels[32, 32].astype(int)
    assert rendered.pixels.shape == (64, 64, 3)
    assert rendered.pixels.dtype == np.uint8
    assert corner.min() > 200
    assert centre[0] > centre[1] + 80
    assert centre[0] > centre[2] + 80


def test_a_render_yields_the_latents_after_each_step() -> None:
    latents, rendered = finish(bundled().render(spec(steps=5)))

    assert [x.shape for x in latents] == [(1, 4, 8, 8)] * 5
    np.testing.assert_array_equal(latents[-1], rendered.latents)


def test_ddim_ends_with_some_noise_left_and_its_latents_are_scaled_for_it() -> None:
    latents, rendered = finish(bundled().render(spec(sampler="ddim")))

    left = SAMPLERS["ddim"].schedule(shapes().config, 4).sigmas[-1]
    np.testing.assert_allclose(rendered.latents, latents[-1] / np.hypot(left, 1), rtol=1e-5)


def test_the_same_spec_gives_the_same_pixels_and_another_seed_gives_others() -> None:
    (_, first), (_, again), (_, other) = (finish(bundled().render(spec(seed=seed))) for seed in (1, 1, 2))

    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, other.pixels)


def test_the_random_source_decides_the_noise() -> None:
    (_, ours), (_, torchs) = finish(bundled().render(spec())), finish(bundled().render(spec(), TorchRandomSource))

    assert not np.array_equal(ours.latents, torchs.latents)


def test_a_model_says_whose_noise_it_wants() -> None:
    config = dataclasses.replace(shapes().config, noise="torch")
    variant = dataclasses.replace(shapes(), config=config)
    pipeline = Pipeline.load(variant, PortableRuntime(threads=1), ComputeUnit.CPU_ONLY)
    (_, said), (_, given) = finish(pipeline.render(spec())), finish(bundled().render(spec(), TorchRandomSource))

    assert np.array_equal(said.latents, given.latents)


@pytest.mark.parametrize("guidance_scale", [1.0, 0.5, 0.0, -2.0])
def test_at_guidance_1_and_below_the_negative_prompt_does_not_matter(guidance_scale: float) -> None:
    (_, one), (_, other) = (
        finish(bundled().render(spec(negative_prompt=text, guidance_scale=guidance_scale))) for text in ("", "red")
    )

    np.testing.assert_array_equal(one.pixels, other.pixels)


def test_above_guidance_1_the_negative_prompt_matters() -> None:
    (_, one), (_, other) = (
        finish(bundled().render(spec(negative_prompt=text, guidance_scale=1.5))) for text in ("", "a red circle")
    )

    assert not np.array_equal(one.pixels, other.pixels)


def test_repeated_prompts_are_encoded_once() -> None:
    calls: list[str] = []
    runtime = TorchRuntime(altered={"text_encoder": counting(calls, "text_encoder")})
    pipeline = Pipeline.load(shapes(), runtime, ComputeUnit.CPU_ONLY)

    for prompt in ("a red circle", "a blue star", "a red circle"):
        finish(pipeline.render(spec(prompt=prompt, negative_prompt="a ring", steps=1)))

    assert len(calls) == 3


@pytest.mark.parametrize("compiles", [False, True])
def test_stages_are_told_as_they_begin(compiles: bool) -> None:
    stages: list[Stage] = []
    pipeline = Pipeline.load(shapes(), TorchRuntime(compiles=compiles), ComputeUnit.CPU_ONLY, stages.append)
    loading = stages.copy()

    finish(pipeline.render(spec()))

    assert loading == [Stage.COMPILE if compiles else Stage.LOAD] * 3 + [Stage.LOAD]
    assert stages[len(loading) :] == [Stage.ENCODE, Stage.DENOISE, Stage.DECODE]


def test_a_render_that_is_given_up_calls_no_model_again() -> None:
    calls: list[str] = []
    runtime = TorchRuntime(altered={"unet": counting(calls, "unet"), "vae_decoder": counting(calls, "vae_decoder")})
    pipeline = Pipeline.load(shapes(), runtime, ComputeUnit.CPU_ONLY)

    steps = pipeline.render(spec())
    next(steps)
    steps.close()

    assert calls == ["unet"]


def test_a_long_prompt_is_rendered_and_its_unread_end_is_noted() -> None:
    long = "a large red circle on a white background " * 12 + "and a blue star"

    _, rendered = finish(bundled().render(spec(prompt=long, steps=1)))

    (note,) = rendered.notes
    assert note.startswith("The prompt is longer than the text encoder reads")
    assert note.endswith("blue star'")


def test_a_long_negative_prompt_is_noted_only_if_it_was_used() -> None:
    long = "a red circle " * 40

    (_, guided), (_, plain) = (
        finish(bundled().render(spec(negative_prompt=long, steps=1, guidance_scale=scale))) for scale in (2.0, 1.0)
    )

    assert [note.startswith("The negative prompt") for note in guided.notes] == [True]
    assert plain.notes == ()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"sampler": "magic"}, r"'magic' is not known \(known: ddim, euler"),
        ({"steps": 0}, "0 steps cannot be done"),
        ({"steps": -3}, "-3 steps cannot be done"),
        ({"steps": 1000}, r"1000 steps cannot be done \(1 to 999"),
        ({"guidance_scale": float("nan")}, "guidance scale is nan"),
        ({"guidance_scale": float("inf")}, "guidance scale is inf"),
        ({"width": 512}, r"512x64 is not the size .* \(64x64\)"),
        ({"height": 72}, "64x72 is not the size"),
        ({"seed": -1}, "seed -1 is not from 0"),
        ({"seed": 2**32}, "seed 4294967296 is not from 0"),
        ({"strength": 0.0}, "the strength is 0.0"),
        ({"strength": 1.5}, "the strength is 1.5"),
    ],
)
def test_what_cannot_be_rendered_is_refused_at_once_with_the_reason(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PipelineError, match=complaint):
        bundled().render(spec(**changes))


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(PipelineError, match=r"0 steps cannot be done .*; .*guidance scale is nan"):
        bundled().render(spec(steps=0, guidance_scale=float("nan")))


def test_lcm_refuses_more_steps_than_it_knows_at_once() -> None:
    with pytest.raises(PipelineError, match="51 steps"):
        bundled().render(spec(sampler="lcm", steps=51))


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize(
    ("component", "value", "complaint"),
    [
        ("unet", float("nan"), "not finite came out of the unet"),
        ("unet", float("inf"), "not finite came out of the unet"),
        ("vae_decoder", float("nan"), "not finite came out of the decoder"),
    ],
)
def test_a_result_that_is_no_image_fails_the_image(component: str, value: float, complaint: str) -> None:
    runtime = TorchRuntime(altered={component: partial(constant_output, value)})
    pipeline = Pipeline.load(shapes(), runtime, ComputeUnit.CPU_ONLY)

    with pytest.raises(ImageFailedError, match=complaint):
        finish(pipeline.render(spec()))


def test_latents_that_are_all_the_same_fail_the_image() -> None:
    runtime = TorchRuntime(altered={"unet": partial(constant_output, 0.25)})
    config = dataclasses.replace(shapes().config, prediction_type="sample")
    pipeline = Pipeline.load(dataclasses.replace(shapes(), config=config), runtime, ComputeUnit.CPU_ONLY)

    with pytest.raises(ImageFailedError, match="All latents came out the same"):
        finish(pipeline.render(spec()))


def test_an_image_of_another_size_than_declared_fails() -> None:
    declared = dataclasses.replace(shapes(), width=128, height=128)
    pipeline = Pipeline.load(declared, TorchRuntime(), ComputeUnit.CPU_ONLY)

    with pytest.raises(ImageFailedError, match=r"shape \(3, 64, 64\), not the 128x128"):
        finish(pipeline.render(spec(width=128, height=128)))


def test_a_variant_without_a_component_is_refused_by_its_name() -> None:
    components = {name: path for name, path in shapes().components.items() if name != "vae_decoder"}

    with pytest.raises(PipelineError, match="shapes has no vae_decoder"):
        Pipeline.load(dataclasses.replace(shapes(), components=components), TorchRuntime(), ComputeUnit.CPU_ONLY)


def test_a_decoder_of_another_latent_size_is_refused_at_load() -> None:
    def widened(model: TorchModel) -> TorchModel:
        spec = dataclasses.replace(model.inputs["z"], shape=(1, 4, 16, 16))
        return dataclasses.replace(model, inputs={"z": spec})

    with pytest.raises(PipelineError, match=r"latents of \(1, 4, 8, 8\), its vae_decoder takes \(1, 4, 16, 16\)"):
        Pipeline.load(shapes(), TorchRuntime(altered={"vae_decoder": widened}), ComputeUnit.CPU_ONLY)


def png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_an_image_that_starts_from_a_picture_does_the_last_steps_and_keeps_the_more_of_it_the_weaker_it_is() -> None:
    _, drawn = finish(bundled().render(spec(prompt="a large red circle on a white background", steps=10)))
    distances = []
    for strength, steps in ((0.05, 1), (0.35, 3), (1.0, 10)):
        start = spec(prompt="a blue star", steps=10, init_image=png(drawn.pixels), strength=strength)
        latents, rendered = finish(bundled().render(start))
        assert len(latents) == start.step_count == steps
        distances.append(np.abs(rendered.pixels.astype(float) - drawn.pixels).mean())

    assert distances == sorted(distances)
    assert distances[0] < 0.7 * distances[2]


def test_a_picture_of_another_size_or_with_transparency_is_brought_to_the_image_s() -> None:
    picture = np.full((100, 30, 4), (200, 40, 40, 128), np.uint8)

    _, rendered = finish(bundled().render(spec(steps=2, init_image=png(picture), strength=0.5)))

    assert rendered.pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("broken", [b"", b"GIF89a", png(np.zeros((64, 64, 3), np.uint8))[:60]])
def test_a_picture_that_cannot_be_decoded_fails_the_image(broken: bytes) -> None:
    with pytest.raises(ImageFailedError, match="init_image cannot be decoded"):
        finish(bundled().render(spec(steps=1, init_image=broken, strength=0.5)))


def test_a_model_without_a_vae_encoder_takes_no_picture() -> None:
    components = {name: path for name, path in shapes().components.items() if name != "vae_encoder"}
    pipeline = Pipeline.load(dataclasses.replace(shapes(), components=components), TorchRuntime(), ComputeUnit.CPU_ONLY)

    with pytest.raises(PipelineError, match="it has no vae_encoder"):
        pipeline.render(spec(init_image=b"png", strength=0.5))
