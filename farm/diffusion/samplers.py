"""Samplers: solvers of the diffusion equation, each a pure generator `(denoise, x, sigmas, noise)`.

All work in the variance-exploding form x = x0 + sigma·noise (see `farm.diffusion.schedule`), in which the probability
flow is dx/dsigma = (x - denoise(x, sigma)) / sigma and the solvers become short. Each yields the latents after every
step, so that its caller owns progress and cancellation. Numbers follow diffusers' scheduler of the same name.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from farm.diffusion.noise import Latents, RandomSource
from farm.diffusion.schedule import Convention, ScheduleMaker, distilled, exponential, karras, leading, linear

Denoise = Callable[[Latents, float], Latents]
"""Estimates x0 of noisy latents at a noise level."""

Solver = Callable[[Denoise, Latents, Sequence[float], RandomSource], Iterator[Latents]]
"""Takes `denoise`, the first latents, falling sigmas and a source of noise; yields the latents after each step."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """A solver with the noise levels it is used at.

    Attributes:
        solve: The solver.
        schedule: Makes the noise levels for a model and a number of steps.
    """

    solve: Solver
    schedule: ScheduleMaker


def euler(denoise: Denoise, x: Latents, sigmas: Sequence[float], _noise: RandomSource) -> Iterator[Latents]:
    """Euler's method (Karras et al. 2022, arXiv:2206.00364, algorithm 1 without its correction)."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x = x + (sigma_next - sigma) * _slope(denoise, x, sigma)
        yield x


def euler_ancestral(denoise: Denoise, x: Latents, sigmas: Sequence[float], noise: RandomSource) -> Iterator[Latents]:
    """Euler's method with as much fresh noise a step as ancestral sampling has (Song et al. 2020, arXiv:2010.02502)."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        sigma_down, sigma_up = _ancestral(sigma, sigma_next)
        x = x + (sigma_down - sigma) * _slope(denoise, x, sigma)
        if sigma_up > 0:
            x = x + sigma_up * noise.normal(x.shape)
        yield x


def heun(denoise: Denoise, x: Latents, sigmas: Sequence[float], _noise: RandomSource) -> Iterator[Latents]:
    """Heun's method (Karras et al. 2022, arXiv:2206.00364, algorithm 1): two evaluations a step, one in the last."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        slope = _slope(denoise, x, sigma)
        if sigma_next > 0:
            slope = 0.5 * (slope + _slope(denoise, x + (sigma_next - sigma) * slope, sigma_next))
        x = x + (sigma_next - sigma) * slope
        yield x


def lms(denoise: Denoise, x: Latents, sigmas: Sequence[float], _noise: RandomSource) -> Iterator[Latents]:
    """Linear multistep method of order 4: integrates the polynomial through the latest slopes, as k-diffusion does."""
    slopes: deque[Latents] = deque(maxlen=4)
    for step, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        slopes.appendleft(_slope(denoise, x, sigma))
        known_at = [sigmas[step - age] for age in range(len(slopes))]
        weights = [_lagrange_integral(known_at, age, sigma, sigma_next) for age in range(len(slopes))]
        x = x + _weighted(weights, slopes)
        yield x


def pndm(denoise: Denoise, x: Latents, sigmas: Sequence[float], _noise: RandomSource) -> Iterator[Latents]:
    """Pseudo linear multistep (Liu et al. 2022, arXiv:2202.09778), started by Heun's method instead of Runge-Kutta's.

    The paper's transfer function is, in this form of x, a step along the slope. Weights are Adams-Bashforth's. Stable
    Diffusion is always used with this start, which costs one more evaluation.
    """
    slopes: deque[Latents] = deque(maxlen=4)
    for step, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        slopes.appendleft(_slope(denoise, x, sigma))
        slope = _weighted(_ADAMS_BASHFORTH[len(slopes)], slopes)
        if step == 0 and len(sigmas) > 2:
            slope = 0.5 * (slope + _slope(denoise, x + (sigma_next - sigma) * slope, sigma_next))
        x = x + (sigma_next - sigma) * slope
        yield x


def dpmpp_2m(denoise: Denoise, x: Latents, sigmas: Sequence[float], _noise: RandomSource) -> Iterator[Latents]:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2); its first and last step are of first order."""
    before: Estimate | None = None
    for sigma, sigma_next in itertools.pairwise(sigmas):
        now = Estimate(sigma, denoise(x, sigma))
        x = _blended(sigma_next / sigma, x, _extrapolated(now, before, sigma_next))
        before = now
        yield x


def dpmpp_2m_sde(denoise: Denoise, x: Latents, sigmas: Sequence[float], noise: RandomSource) -> Iterator[Latents]:
    """SDE-DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095), the midpoint form."""
    before: Estimate | None = None
    for sigma, sigma_next in itertools.pairwise(sigmas):
        now = Estimate(sigma, denoise(x, sigma))
        kept = (sigma_next / sigma) ** 2
        x = _blended(kept, x, _extrapolated(now, before, sigma_next))
        if sigma_next > 0:
            x = x + sigma_next * math.sqrt(1 - kept) * noise.normal(x.shape)
        before = now
        yield x


def dpmpp_2s_ancestral(denoise: Denoise, x: Latents, sigmas: Sequence[float], noise: RandomSource) -> Iterator[Latents]:
    """DPM-Solver++(2S) (Lu et al. 2022, arXiv:2211.01095, algorithm 1, r = 1/2) with ancestral noise (k-diffusion)."""
    for sigma, sigma_next in itertools.pairwise(sigmas):
        sigma_down, sigma_up = _ancestral(sigma, sigma_next)
        denoised = denoise(x, sigma)
        if sigma_down > 0:
            middle = math.sqrt(sigma * sigma_down)
            denoised = denoise(_blended(middle / sigma, x, denoised), middle)
        x = _blended(sigma_down / sigma, x, denoised)
        if sigma_up > 0:
            x = x + sigma_up * noise.normal(x.shape)
        yield x


def unipc(denoise: Denoise, x: Latents, sigmas: Sequence[float], _noise: RandomSource) -> Iterator[Latents]:
    """UniPC of order 2 with B2(h) (Zhao et al. 2023, arXiv:2302.04867), predicting x0.

    Its predictor is DPM-Solver++(2M). The corrector mends the latents of the step before with the estimate that is made
    at the predicted ones, so it costs no evaluation; the last step, to no noise, needs none.
    """
    corrected, older, before = x, None, None
    for sigma, sigma_next in itertools.pairwise(sigmas):
        now = Estimate(sigma, denoise(x, sigma))
        if before is not None:
            corrected = _unipc_corrected(corrected, older, before, now)
        x = _blended(sigma_next / sigma, corrected, _extrapolated(now, before, sigma_next))
        older, before = before, now
        yield x


def lcm(denoise: Denoise, x: Latents, sigmas: Sequence[float], noise: RandomSource) -> Iterator[Latents]:
    """Multistep consistency sampling (Luo et al. 2023, arXiv:2310.04378).

    The consistency function is c_skip·x + c_out·x0. Latent consistency models scale time so that at all of their 50
    levels it is x0 within 4e-6, and it is taken for that.
    """
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x = denoise(x, sigma)
        if sigma_next > 0:
            x = x + sigma_next * noise.normal(x.shape)
        yield x


def tcd(denoise: Denoise, x: Latents, sigmas: Sequence[float], noise: RandomSource) -> Iterator[Latents]:
    """Strategic stochastic sampling of trajectory consistency models (Zheng et al. 2024, arXiv:2402.19159).

    With gamma = 1 ("eta" in diffusers), as Hyper-SD's cards prescribe: each step jumps along the trajectory to its end,
    and noise brings it up to the next level.
    """
    end = sigmas[-1]
    for sigma, sigma_next in itertools.pairwise(sigmas):
        x = x + (end - sigma) * _slope(denoise, x, sigma)
        if sigma_next > end:
            x = x + math.sqrt(sigma_next**2 - end**2) * noise.normal(x.shape)
        yield x


class Estimate(NamedTuple):
    """The denoised latents that were estimated at a noise level."""

    sigma: float
    denoised: Latents


def _slope(denoise: Denoise, x: Latents, sigma: float) -> Latents:
    """Evaluates dx/dsigma, which is the noise that the UNet sees in x."""
    return (x - denoise(x, sigma)) / sigma


def _blended(kept: float, x: Latents, denoised: Latents) -> Latents:
    """Moves x towards an estimate of x0; `kept` is the share of x that stays."""
    return kept * x + (1 - kept) * denoised


def _ancestral(sigma: float, sigma_next: float) -> tuple[float, float]:
    """Splits a step into a way down along the flow and fresh noise that brings it up to `sigma_next`."""
    sigma_up = math.sqrt(sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2)
    return math.sqrt(sigma_next**2 - sigma_up**2), sigma_up


def _extrapolated(now: Estimate, before: Estimate | None, sigma_next: float) -> Latents:
    """Carries estimates half a step ahead, linearly in log sigma (the 2M of DPM-Solver++)."""
    if before is None or sigma_next == 0:
        return now.denoised
    ratio = math.log(now.sigma / sigma_next) / math.log(before.sigma / now.sigma)
    return now.denoised + (0.5 * ratio) * (now.denoised - before.denoised)


def _unipc_corrected(x: Latents, before: Estimate | None, start: Estimate, end: Estimate) -> Latents:
    """UniC: makes the step from `start` to `end` anew, now that the estimate at its end is known.

    Two estimates beside `start`'s enter by their difference to it, the one before, at r steps from the start, and the
    one at the end. Their weights solve the equations of order 2 of the paper, a + b = g1 and r·a + b = g2.
    """
    h = math.log(start.sigma / end.sigma)
    kept = end.sigma / start.sigma
    change = end.denoised - start.denoised
    if before is None:
        return _blended(kept, x, start.denoised + 0.5 * change)
    r = -math.log(before.sigma / start.sigma) / h
    g1 = 1 / (1 - kept) - 1 / h
    g2 = 1 / (1 - kept) - 2 * g1 / h
    a = (g1 - g2) / (1 - r)
    b = g1 - a
    return _blended(kept, x, start.denoised + (a / r) * (before.denoised - start.denoised) + b * change)


def _lagrange_integral(nodes: Sequence[float], node: int, start: float, end: float) -> float:
    """Integrates from start to end the polynomial that is 1 at one of up to four nodes and 0 at the others.

    Gauss's rule of two points is exact up to the third degree.
    """
    others = [other for position, other in enumerate(nodes) if position != node]
    middle, half = (start + end) / 2, (end - start) / 2
    points = (middle - half / math.sqrt(3), middle + half / math.sqrt(3))
    return half * sum(math.prod((point - other) / (nodes[node] - other) for other in others) for point in points)


def _weighted(weights: Iterable[float], slopes: Iterable[Latents]) -> Latents:
    """Sums up slopes, each times its weight."""
    first, *rest = (weight * slope for weight, slope in zip(weights, slopes, strict=True))
    total: Latents = sum(rest, start=first)
    return total


_ADAMS_BASHFORTH: Mapping[int, Sequence[float]] = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}
"""Weights of the latest slopes, newest first, by their number."""


def _family(name: str, solve: Solver, convention: Convention) -> dict[str, Sampler]:
    """A solver at each of the spacings that are in use with it."""
    return {
        name: Sampler(solve, partial(linear, convention=convention)),
        f"{name}-karras": Sampler(solve, partial(karras, convention=convention)),
        f"{name}-exponential": Sampler(solve, partial(exponential, convention=convention)),
    }


SAMPLERS: Mapping[str, Sampler] = {
    # In this form DDIM without added noise is Euler's method (Song et al. 2020, arXiv:2010.02502, equation 14).
    "ddim": Sampler(euler, leading),
    **_family("euler", euler, Convention.K_DIFFUSION),
    "euler-ancestral": Sampler(euler_ancestral, partial(linear, convention=Convention.K_DIFFUSION)),
    **_family("heun", heun, Convention.K_DIFFUSION),
    **_family("dpmpp-2m", dpmpp_2m, Convention.DPM_SOLVER),
    **_family("dpmpp-2m-sde", dpmpp_2m_sde, Convention.DPM_SOLVER),
    **_family("dpmpp-2s-ancestral", dpmpp_2s_ancestral, Convention.K_DIFFUSION),
    **_family("lms", lms, Convention.K_DIFFUSION),
    "pndm": Sampler(pndm, leading),
    **_family("unipc", unipc, Convention.DPM_SOLVER),
    "lcm": Sampler(lcm, distilled),
    "tcd": Sampler(tcd, partial(distilled, ends_in_training=True)),
}
"""Samplers by the name that jobs give: a solver, then how its noise levels are spaced if not as it usually is."""
