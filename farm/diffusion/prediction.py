"""From what a UNet predicts to the one thing that samplers ask for: the denoised latents."""

import math
from collections.abc import Callable, Mapping

from farm.diffusion.noise import Latents
from farm.diffusion.samplers import Denoise
from farm.diffusion.schedule import Schedule

Predict = Callable[[Latents, float], Latents]
"""Takes latents of the variance-preserving form and a timestep; gives what the UNet predicts, after guidance."""


def _from_epsilon(x: Latents, epsilon: Latents, sigma: float) -> Latents:
    return x - sigma * epsilon


def _from_v(x: Latents, v: Latents, sigma: float) -> Latents:
    """Inverts v = (noise - sigma·x0) / √(1 + sigma²) (Salimans & Ho 2022, arXiv:2202.00512, appendix D)."""
    return x / (1 + sigma**2) - (sigma / math.hypot(sigma, 1.0)) * v


def _from_sample(x: Latents, sample: Latents, sigma: float) -> Latents:  # noqa: ARG001 - the table's common signature
    return sample


_DENOISED: Mapping[str, Callable[[Latents, Latents, float], Latents]] = {
    "epsilon": _from_epsilon,
    "v_prediction": _from_v,
    "sample": _from_sample,
}


def denoiser(predict: Predict, schedule: Schedule, prediction_type: str) -> Denoise:
    """Wraps a UNet of any prediction type as `denoise(x, sigma) -> x0`, x being x0 + sigma·noise."""
    denoised = _DENOISED[prediction_type]

    def denoise(x: Latents, sigma: float) -> Latents:
        return denoised(x, predict(x / math.hypot(sigma, 1.0), schedule.timestep(sigma)), sigma)

    return denoise


def guide(unconditional: Latents, conditional: Latents, guidance_scale: float) -> Latents:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598) in the form that diffusers gives its scale."""
    return unconditional + guidance_scale * (conditional - unconditional)
