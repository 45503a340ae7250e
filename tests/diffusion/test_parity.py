"""The bundled packages through the whole pipeline, beside diffusers' own pipeline over the checkpoint."""

import dataclasses
from functools import cache, partial

import pytest

from benchmarks.parity import SPEC, Agreement, compare, load, render_broken, shift_timestep, trace
from benchmarks.references import DiffusersPipeline
from farm.diffusion.pipeline import Pipeline
from farm.runtime.portable import PortableRuntime
from tests.diffusion.models import shapes

# Packages hold some constants in float16, which costs about 3e-4; a timestep that is off by one costs ten times that.
TIGHT = Agreement(latent_error=1e-3, psnr=60.0)

RUNTIME = PortableRuntime(threads=1)


# diffusers' own arithmetic on torch and numpy arrays.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@cache
def farm() -> Pipeline:
    return load(RUNTIME, shapes())


@cache
def diffusers() -> DiffusersPipeline:
    return DiffusersPipeline()


@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpmpp-2m", "euler-ancestral", "heun-karras", "unipc"])
def test_a_render_agrees_with_diffusers_at_every_step(sampler: str) -> None:
    spec = dataclasses.replace(SPEC, sampler=sampler)

    agreement = compare(trace(farm(), spec), diffusers().trace(spec, shapes().config))

    assert agreement.latent_error <= TIGHT.latent_error
    assert agreement.psnr >= TIGHT.psnr


def test_a_timestep_that_is_off_by_one_is_beyond_what_is_tolerated_here() -> None:
    shifted = load(RUNTIME, shapes(), partial(shift_timestep, shift=1))

    agreement = compare(trace(shifted, SPEC), diffusers().trace(SPEC, shapes().config))

    assert agreement.latent_error > TIGHT.latent_error


def test_the_check_refuses_a_shifted_timestep_swapped_guidance_another_sampler_and_a_wrong_scale() -> None:
    wanted = diffusers().trace(SPEC, shapes().config)

    broken = render_broken(RUNTIME, shapes(), SPEC)

    assert len(broken) == 4
    assert [fault for fault, render in broken.items() if compare(render, wanted).holds] == []
