"""Noise levels: which ones a model was trained at, and which ones a render visits.

Noise levels are sigmas of the variance-exploding form x = x0 + sigma·noise of Karras et al. 2022
(arXiv:2206.00364): sigma² = (1 - ᾱ) / ᾱ, with ᾱ the cumulative product of the training's 1 - beta. Latents of the
variance-preserving form, which DDIM and DPM-Solver are written in, are the same latents divided by √(1 + sigma²).
"""

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from farm.domain import DiffusionConfig
from farm.errors import PipelineError

Sigmas = NDArray[np.float64]

_KARRAS_RHO = 7.0
_DISTILLED_STEPS = 50


@dataclass(frozen=True, slots=True)
class Schedule:
    """The noise levels of one render.

    Attributes:
        sigmas: Falling noise levels, one more than there are steps; the last is what remains at the end, mostly 0.
        timesteps: Training step of each sigma but the last, as the UNet is told it. May be fractional.
        noise_scale: What standard normal noise is multiplied with to become the latents that the render starts from.
        training_sigmas: Noise level of each training step, rising.
    """

    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]
    noise_scale: float
    training_sigmas: Sigmas

    def timestep(self, sigma: float) -> float:
        """Training step of a noise level, interpolated if it is none of the schedule's own."""
        if sigma in self.sigmas[:-1]:
            return self.timesteps[self.sigmas.index(sigma)]
        return float(_timesteps(np.array([sigma]), self.training_sigmas)[0])

    def last(self, steps: int) -> "Schedule":
        """The same schedule begun late, so that only its last `steps` are left."""
        return replace(self, sigmas=self.sigmas[-steps - 1 :], timesteps=self.timesteps[-steps:])


class Convention(enum.Enum):
    """Two habits of solvers that diffusers keeps apart and on which pixels depend.

    K_DIFFUSION solvers (Euler, Heun, LMS) tell the UNet fractional timesteps and start from sigma·noise. DPM_SOLVER's
    (DPM-Solver++, UniPC) tell it whole timesteps, since training had no others, and start from latents whose
    variance-preserving form is the noise itself.
    """

    K_DIFFUSION = "k-diffusion"
    DPM_SOLVER = "dpm-solver"


ScheduleMaker = Callable[[DiffusionConfig, int], Schedule]


def training_sigmas(config: DiffusionConfig) -> Sigmas:
    """Noise level of each training step: `train_steps` rising numbers."""
    if config.beta_schedule == "scaled_linear":
        betas = np.linspace(config.beta_start**0.5, config.beta_end**0.5, config.train_steps) ** 2
    else:
        betas = np.linspace(config.beta_start, config.beta_end, config.train_steps)
    # Rounded where diffusers rounds: 1 - ᾱ has few digits left at little noise, and spacings start from that number.
    kept = np.cumprod(np.float32(1) - betas.astype(np.float32), dtype=np.float64).astype(np.float32)
    sigmas: Sigmas = np.sqrt((1 - kept) / kept).astype(np.float64)
    return sigmas


def linear(config: DiffusionConfig, steps: int, convention: Convention) -> Schedule:
    """Levels evenly spaced in training time, from the noisiest to none ("linspace" in diffusers)."""
    trained = training_sigmas(config)
    last = config.train_steps - 1
    timesteps: NDArray[np.number]
    if config.timestep_spacing == "trailing":
        timesteps = _trailing(config, steps)
    elif convention is Convention.K_DIFFUSION:
        # Counted from the noisy end, so that a single step starts there; diffusers' own single step starts at 0.
        timesteps = np.linspace(last, 0, steps)
    else:
        timesteps = np.linspace(0, last, steps + 1).round()[:0:-1]
    return _schedule(np.interp(timesteps, np.arange(config.train_steps), trained), timesteps, trained, convention)


def leading(config: DiffusionConfig, steps: int) -> Schedule:
    """Every n-th training step from `steps_offset` up, as DDIM and PNDM have it for Stable Diffusion.

    The render ends at the first training level rather than at no noise: Stable Diffusion's configurations set
    `set_alpha_to_one` to false, and with it diffusers takes the ᾱ of training step 0 for the last step.
    """
    trained = training_sigmas(config)
    timesteps: NDArray[np.number] = np.arange(steps)[::-1] * (config.train_steps // steps) + config.steps_offset
    if config.timestep_spacing == "trailing":
        timesteps = _trailing(config, steps)
    return _schedule(trained[timesteps], timesteps, trained, Convention.DPM_SOLVER, final_sigma=float(trained[0]))


def karras(config: DiffusionConfig, steps: int, convention: Convention) -> Schedule:
    """Levels evenly spaced in sigma^(1/7) (Karras et al. 2022, equation 5): more of the steps at little noise."""
    trained = training_sigmas(config)
    roots = np.linspace(trained[-1] ** (1 / _KARRAS_RHO), trained[0] ** (1 / _KARRAS_RHO), steps)
    sigmas = roots**_KARRAS_RHO
    timesteps = _timesteps(sigmas, trained)
    if convention is Convention.DPM_SOLVER:
        timesteps = timesteps.round()
    return _schedule(sigmas, timesteps, trained, convention)


def exponential(config: DiffusionConfig, steps: int, convention: Convention) -> Schedule:
    """Levels evenly spaced in log sigma."""
    trained = training_sigmas(config)
    sigmas = np.exp(np.linspace(math.log(trained[-1]), math.log(trained[0]), steps))
    timesteps = _timesteps(sigmas, trained)
    if convention is Convention.DPM_SOLVER:
        # diffusers rounds Karras' timesteps but cuts these off, the first of them just below its whole number.
        timesteps = np.floor((timesteps - 1e-3).clip(0))
    return _schedule(sigmas, timesteps, trained, convention)


def distilled(config: DiffusionConfig, steps: int, *, ends_in_training: bool = False) -> Schedule:
    """Levels out of the 50 that latent consistency models are distilled at (Luo et al. 2023, arXiv:2310.04378).

    Args:
        config: Tells, too, where models begin that were distilled to a single step.
        steps: From 1 to 50.
        ends_in_training: Whether the render ends at the first training level rather than at no noise.

    Raises:
        PipelineError: More than 50 steps were asked for.
    """
    if steps > _DISTILLED_STEPS:
        raise PipelineError(
            f"A sampler of consistency models was asked for {steps} steps, but these know {_DISTILLED_STEPS} noise"
            " levels. Ask for 1 to 8 steps.",
            steps=str(steps),
        )
    trained = training_sigmas(config)
    distilled_at = np.arange(_DISTILLED_STEPS, 0, -1) * (config.train_steps // _DISTILLED_STEPS) - 1
    timesteps = distilled_at[np.linspace(0, _DISTILLED_STEPS, steps, endpoint=False).astype(np.int64)]
    if steps == 1 and config.single_step_at is not None:
        timesteps = np.array([config.single_step_at])
    final_sigma = float(trained[0]) if ends_in_training else 0.0
    return _schedule(trained[timesteps], timesteps, trained, Convention.DPM_SOLVER, final_sigma)


def _trailing(config: DiffusionConfig, steps: int) -> NDArray[np.int64]:
    """The last training step of each of `steps` equal parts (Lin et al. 2023, arXiv:2305.08891, section 3.3)."""
    ends = np.arange(config.train_steps, 0, -config.train_steps / steps)[:steps]
    return ends.round().astype(np.int64) - 1


def _timesteps(sigmas: Sigmas, trained: Sigmas) -> Sigmas:
    """Fractional training steps of noise levels, by interpolation in log sigma."""
    return np.interp(np.log(sigmas), np.log(trained), np.arange(len(trained)))


def _schedule(
    sigmas: Sigmas, timesteps: NDArray[np.number], trained: Sigmas, convention: Convention, final_sigma: float = 0.0
) -> Schedule:
    first = float(sigmas[0])
    return Schedule(
        sigmas=(*sigmas.tolist(), final_sigma),
        timesteps=tuple(map(float, timesteps)),
        noise_scale=first if convention is Convention.K_DIFFUSION else math.hypot(first, 1.0),
        training_sigmas=trained,
    )
