import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.references import PREDICTIONS
from farm.diffusion.noise import Latents, NumpyRandomSource
from farm.diffusion.prediction import denoiser, guide
from farm.diffusion.samplers import SAMPLERS
from farm.domain import DiffusionConfig

SCHEDULE = SAMPLERS["euler"].schedule(DiffusionConfig(), 20)

picture = NumpyRandomSource(1).normal((1, 4, 8, 8))
noise = NumpyRandomSource(2).normal((1, 4, 8, 8))


@given(sigma=st.floats(0.03, 14))
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_a_perfect_network_of_any_prediction_type_denoises_perfectly(prediction_type: str, sigma: float) -> None:
    alpha, spread = 1 / math.hypot(sigma, 1), sigma / math.hypot(sigma, 1)
    predicted = {"epsilon": noise, "v_prediction": alpha * noise - spread * picture, "sample": picture}[prediction_type]

    def predict(latents: Latents, timestep: float) -> Latents:
        np.testing.assert_allclose(latents, alpha * picture + spread * noise, atol=1e-5)
        assert timestep == SCHEDULE.timestep(sigma)
        return predicted.astype(np.float32)

    denoised = denoiser(predict, SCHEDULE, prediction_type)(picture + np.float32(sigma) * noise, sigma)

    np.testing.assert_allclose(denoised, picture, atol=1e-5 * (1 + sigma))


def test_guidance_leads_away_from_the_unconditional_prediction() -> None:
    unconditional, conditional = np.array([1, 2], np.float32), np.array([3, 1], np.float32)

    np.testing.assert_array_equal(guide(unconditional, conditional, 1.0), conditional)
    np.testing.assert_array_equal(guide(unconditional, conditional, 2.0), [5, 0])
