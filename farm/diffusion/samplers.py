"""Samplers: solvers of the diffusion equation, each a pure generator `(denoise, x, sigmas, noise)`.

All work in the variance-exploding form x = x0 + sigma·noise (see `farm.diffusion.schedule`), in which the probability
flow is dx/dsigma = (x - denoise(x, sigma)) / sigma and the solvers become short. Each yields the latents after every
step, so that its caller owns progress and cancellation. Numbers follow diffusers' scheduler of the same name.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from farm.diffusion.noise import Latents, RandomSource
from farm.diffusion.schedule import Convention, ScheduleMaker, leading, linear

Denoise = Callable[[Latents, float], Latents]
"""Estimates x0 of noisy latents at a noise level."""

Solver = Callable[[Denoise, Latents, Sequence[float], RandomSource], Iterator[Latents]]
"""Takes `denoise`, the first latents, falling sigmas and a source of noise; yields the latents after each step."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """A solver with the noise levels it is used at.

    Attributes:
        label: The name that AUTOMATIC1111's interface gives it, for the text in PNG files.
        solve: The solver.
        schedule: Makes the noise levels for a model and a number of steps.
    """

    label: str
    solve: Solver
    schedule: ScheduleMaker


def euler(denoise: Denoise, x: Latents, sigmas: Sequence[float], _noise: RandomSource) -> Iterator[Latents]:
    """Euler's method (Karras et al. 2022, arXiv:2206.00364, algorithm 1 without its correction)."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x = x + (sigma_next - sigma) * _slope(denoise, x, sigma)
        yield x


def dpmpp_2m(denoise: Denoise, x: Latents, sigmas: Sequence[float], _noise: RandomSource) -> Iterator[Latents]:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2); its first and last step are of first order."""
    before: tuple[float, Latents] | None = None
    for sigma, sigma_next in itertools.pairwise(sigmas):
        denoised = denoise(x, sigma)
        kept = sigma_next / sigma
        x = kept * x + (1 - kept) * _extrapolated(denoised, before, sigma, sigma_next)
        before = sigma, denoised
        yield x


def _slope(denoise: Denoise, x: Latents, sigma: float) -> Latents:
    """Evaluates dx/dsigma, which is the noise that the UNet sees in x."""
    return (x - denoise(x, sigma)) / sigma


def _extrapolated(denoised: Latents, before: tuple[float, Latents] | None, sigma: float, sigma_next: float) -> Latents:
    """Carries x0's estimates half a step ahead, linearly in log sigma (the 2M of DPM-Solver++)."""
    if before is None or sigma_next == 0:
        return denoised
    sigma_before, denoised_before = before
    ratio = math.log(sigma / sigma_next) / math.log(sigma_before / sigma)
    return denoised + (0.5 * ratio) * (denoised - denoised_before)


_K_LINEAR = partial(linear, convention=Convention.K_DIFFUSION)
_DPM_LINEAR = partial(linear, convention=Convention.DPM_SOLVER)

SAMPLERS: Mapping[str, Sampler] = {
    # In this form DDIM without added noise is Euler's method (Song et al. 2020, arXiv:2010.02502, equation 14).
    "ddim": Sampler("DDIM", euler, leading),
    "euler": Sampler("Euler", euler, _K_LINEAR),
    "dpmpp-2m": Sampler("DPM++ 2M", dpmpp_2m, _DPM_LINEAR),
}
"""Samplers by the name that jobs give."""
