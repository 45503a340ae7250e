"""Samplers against diffusers' schedulers, on a network that shows any wrong weight or timestep, and against theory."""

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.references import PREDICTIONS, REFERENCES, make_scheduler
from farm.diffusion.noise import Latents, TorchRandomSource
from farm.diffusion.prediction import denoiser
from farm.diffusion.samplers import SAMPLERS
from farm.diffusion.schedule import Schedule, training_sigmas
from farm.domain import DiffusionConfig, ImageSpec, evaluation_count
from farm.errors import PipelineError

SHAPE = (1, 4, 8, 8)
SEED = 3

CONSISTENCY = {"lcm", "tcd"}
STOCHASTIC = {"euler-ancestral", *CONSISTENCY, *(name for name in SAMPLERS if "sde" in name or "2s" in name)}

# diffusers' own arithmetic on torch and numpy arrays.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def network(x: Latents, timestep: float) -> Latents:
    """A UNet's stand-in: bounded, not linear, and sensitive to the timestep."""
    bent: Latents = np.float32(0.9) * np.tanh(np.float32(1.3) * x + np.float32(0.3 * math.sin(timestep / 200)))
    return bent


def follow_diffusers(sampler: str, config: DiffusionConfig, steps: int) -> tuple[list[float], list[Latents]]:
    """The timesteps and the latents after each step, x0 + sigma·noise, of diffusers' scheduler."""
    reference = REFERENCES[sampler]
    scheduler = make_scheduler(reference, config)
    scheduler.set_timesteps(steps)
    generator = torch.Generator().manual_seed(SEED)
    takes_generator = "generator" in scheduler.step.__code__.co_varnames
    x = torch.randn(SHAPE, generator=generator) * scheduler.init_noise_sigma
    calls = []
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, timestep).numpy()
        output = network(scaled, float(timestep))
        if config.prediction_type != scheduler.config.prediction_type:
            output = to_epsilon(output, scaled, float(timestep), config)
        more = {**reference.options, **({"generator": generator} if takes_generator else {})}
        x = scheduler.step(torch.from_numpy(output), timestep, x, **more).prev_sample
        calls.append(x.numpy())
    sigmas = SAMPLERS[sampler].schedule(config, steps).sigmas[1:]
    latents = [calls[index] for index in reference.step_ends(steps)]
    if reference.variance_preserving:
        latents = [x * np.float32(math.hypot(sigma, 1)) for x, sigma in zip(latents, sigmas, strict=True)]
    step_starts = [0, *(end + 1 for end in reference.step_ends(steps))][:steps]
    return scheduler.timesteps[step_starts].tolist(), latents


def to_epsilon(output: Latents, x: Latents, timestep: float, config: DiffusionConfig) -> Latents:
    """The noise that a prediction of another type implies, x being variance-preserving."""
    trained = training_sigmas(config)
    sigma = float(np.interp(timestep, np.arange(len(trained)), trained))
    alpha, spread = 1 / math.hypot(sigma, 1), sigma / math.hypot(sigma, 1)
    if config.prediction_type == "v_prediction":
        return alpha * output + spread * x
    picture: Latents = alpha * output
    return (x - picture) / spread


def run(sampler: str, config: DiffusionConfig, steps: int) -> tuple[Schedule, list[Latents]]:
    schedule = SAMPLERS[sampler].schedule(config, steps)
    source = TorchRandomSource(SEED)
    start = source.normal(SHAPE) * np.float32(schedule.noise_scale)
    denoise = denoiser(network, schedule, config.prediction_type)
    return schedule, list(SAMPLERS[sampler].solve(denoise, start, schedule.sigmas, source))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("sampler", REFERENCES)
@pytest.mark.parametrize("steps", [2, 7, 20])
def test_each_sampler_has_diffusers_timesteps_and_latents_at_every_step(
    sampler: str, prediction: Any, steps: int
) -> None:
    config = DiffusionConfig(prediction_type=prediction)

    timesteps, wanted = follow_diffusers(sampler, config, steps)
    schedule, found = run(sampler, config, steps)

    np.testing.assert_allclose(schedule.timesteps, timesteps, atol=1e-3)
    assert len(found) == len(wanted) == steps
    for x, y in zip(found, wanted, strict=True):
        assert x.dtype == np.float32
        assert np.linalg.norm(x - y) <= 2e-5 * np.linalg.norm(y)


def test_the_comparison_with_diffusers_notices_a_timestep_that_is_off_by_one() -> None:
    config = DiffusionConfig()
    _, wanted = follow_diffusers("ddim", config, 20)

    _, found = run("ddim", dataclasses.replace(config, steps_offset=0), 20)

    assert np.linalg.norm(found[0] - wanted[0]) > 1e-4 * np.linalg.norm(wanted[0])


@pytest.mark.parametrize("steps", [2, 20])
def test_the_steps_of_dpmpp_2s_ancestral_are_those_of_diffusers_singlestep_solver_and_then_noise(steps: int) -> None:
    import diffusers

    schedule, found = run("dpmpp-2s-ancestral", DiffusionConfig(), steps)
    source = TorchRandomSource(SEED)
    x = source.normal(SHAPE) * np.float32(schedule.noise_scale)
    for after, (sigma, sigma_next) in zip(found, itertools.pairwise(schedule.sigmas), strict=True):
        variance_up = sigma_next**2 * (1 - (sigma_next / sigma) ** 2)
        sigma_down = math.sqrt(sigma_next**2 - variance_up)
        levels = [sigma, math.sqrt(sigma * sigma_down), sigma_down] if sigma_down else [sigma, 0.0]
        solver = diffusers.DPMSolverSinglestepScheduler()
        solver.set_timesteps(len(levels) - 1)
        solver.sigmas, solver.order_list = torch.tensor(levels, dtype=torch.float64), [1, 2]
        preserving = torch.from_numpy(x.astype(np.float64) / math.hypot(sigma, 1))
        for level, timestep in zip(levels, solver.timesteps, strict=False):
            epsilon = network(preserving.numpy().astype(np.float32), schedule.timestep(level))
            preserving = solver.step(torch.from_numpy(epsilon.astype(np.float64)), timestep, preserving).prev_sample
        x = (preserving.numpy() * math.hypot(sigma_down, 1)).astype(np.float32)
        if sigma_next:
            x = x + np.float32(math.sqrt(variance_up)) * source.normal(SHAPE)
        assert np.linalg.norm(after - x) <= 2e-5 * np.linalg.norm(x)


@settings(max_examples=15)
@given(spread=st.floats(0.5, 3), mean=st.floats(-2, 2))
@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - STOCHASTIC))
def test_each_deterministic_sampler_follows_the_exact_flow_of_normal_data(
    sampler: str, spread: float, mean: float
) -> None:
    """For data of N(mean, spread²), x - mean shrinks along the flow as the noisy data's standard deviation does."""
    schedule = SAMPLERS[sampler].schedule(DiffusionConfig(), 100)

    def denoise(x: Latents, sigma: float) -> Latents:
        return np.float32(mean) + (x - np.float32(mean)) * np.float32(spread**2 / (spread**2 + sigma**2))

    start = np.linspace(-20, 20, 16, dtype=np.float32)
    *_, end = SAMPLERS[sampler].solve(denoise, start, schedule.sigmas, TorchRandomSource(0))

    shrunk = math.hypot(spread, schedule.sigmas[-1]) / math.hypot(spread, schedule.sigmas[0])
    # In 100 steps first-order solvers go wrong by up to 4.2 % of the spread, a wrong weight by far more.
    np.testing.assert_allclose(end, mean + (start - mean) * shrunk, rtol=0, atol=0.06 * spread)


@pytest.mark.parametrize("sampler", sorted(STOCHASTIC))
def test_each_stochastic_sampler_ends_with_the_spread_of_normal_data(sampler: str) -> None:
    spread = 0.7
    schedule = SAMPLERS[sampler].schedule(DiffusionConfig(), 50)

    def denoise(x: Latents, sigma: float) -> Latents:
        shrunk = spread / math.hypot(spread, sigma)
        # What a consistency model is asked for is the end of the flow; what others are asked for, the mean of all ends.
        return x * np.float32(shrunk if sampler in CONSISTENCY else shrunk**2)

    source = TorchRandomSource(1)
    start = source.normal((40_000,)) * np.float32(math.hypot(schedule.sigmas[0], spread))
    *_, end = SAMPLERS[sampler].solve(denoise, start, schedule.sigmas, source)

    # Steps of first order lose a few percent in 50 of them; noise of a wrong size would cost far more.
    assert float(end.std()) == pytest.approx(spread, rel=0.1)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_can_do_one_step_from_the_noisiest_level(sampler: str) -> None:
    schedule, latents = run(sampler, DiffusionConfig(), 1)

    # "leading" counts its steps from the offset, so the only one is the offset itself.
    assert schedule.timesteps[0] >= (1 if sampler in {"ddim", "pndm"} else 998)
    assert len(latents) == 1
    assert np.isfinite(latents[0]).all()


@pytest.mark.parametrize("steps", [1, 2, 3, 15, 49, 333, 999])
@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - CONSISTENCY))
def test_sigmas_fall_and_timesteps_stay_in_training(sampler: str, steps: int) -> None:
    schedule = SAMPLERS[sampler].schedule(DiffusionConfig(), steps)

    assert len(schedule.sigmas) == steps + 1
    assert all(sigma > sigma_next for sigma, sigma_next in itertools.pairwise(schedule.sigmas))
    assert 0 <= min(schedule.timesteps) <= max(schedule.timesteps) <= 999


@pytest.mark.parametrize("steps", [1, 8])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_an_image_is_priced_by_is_how_often_its_sampler_evaluates_the_unet(sampler: str, steps: int) -> None:
    schedule = SAMPLERS[sampler].schedule(DiffusionConfig(), steps)
    evaluated: list[float] = []

    def denoise(x: Latents, sigma: float) -> Latents:
        evaluated.append(sigma)
        return 0.5 * x

    *_, _end = SAMPLERS[sampler].solve(denoise, np.ones(SHAPE, np.float32), schedule.sigmas, TorchRandomSource(0))
    assert len(evaluated) == evaluation_count(ImageSpec(steps=steps, sampler=sampler))


def test_the_promised_samplers_are_all_there() -> None:
    promised = "ddim euler euler-ancestral heun dpmpp-2m dpmpp-2m-sde dpmpp-2s-ancestral lms pndm unipc lcm tcd"

    assert set(promised.split()) <= set(SAMPLERS)


@pytest.mark.parametrize("sampler", sorted(CONSISTENCY))
def test_samplers_of_consistency_models_say_that_these_know_fifty_levels(sampler: str) -> None:
    with pytest.raises(PipelineError, match="51 steps"):
        SAMPLERS[sampler].schedule(DiffusionConfig(), 51)


@pytest.mark.parametrize("sampler", sorted(CONSISTENCY))
def test_a_model_of_one_step_may_begin_below_the_noisiest_level_and_with_more_steps_does_not(sampler: str) -> None:
    config = DiffusionConfig(single_step_at=800)
    schedule = SAMPLERS[sampler].schedule(config, 1)

    assert schedule.timesteps == (800,)
    assert schedule.sigmas[0] == training_sigmas(config)[800]
    assert SAMPLERS[sampler].schedule(config, 2).timesteps[0] == 999


def test_linear_betas_differ_from_scaled_linear_ones_and_rise_as_well() -> None:
    linear, scaled = (training_sigmas(DiffusionConfig(beta_schedule=kind)) for kind in ("linear", "scaled_linear"))

    assert (np.diff(linear) > 0).all()
    assert linear[500] > 1.2 * scaled[500]


@given(timestep=st.floats(0, 999))
def test_a_level_between_trained_ones_is_told_by_its_fractional_timestep(timestep: float) -> None:
    schedule = SAMPLERS["dpmpp-2s-ancestral"].schedule(DiffusionConfig(), 10)
    log_sigma = np.interp(timestep, np.arange(1000), np.log(schedule.training_sigmas))

    assert schedule.timestep(float(np.exp(log_sigma))) == pytest.approx(timestep, abs=1e-3)
