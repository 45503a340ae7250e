"""What UNets are told beside their prompts, in the numbers that diffusers tells them."""

import numpy as np
import pytest

from farm.diffusion.prompt_encoder import guidance_embedding, time_ids
from farm.errors import PipelineError


def test_the_base_model_is_told_sizes_height_first() -> None:
    for is_negative in (False, True):
        assert time_ids(6, 640, 512, is_negative=is_negative).tolist() == [512, 640, 0, 0, 512, 640]


def test_the_refiner_is_told_a_good_score_for_the_prompt_and_a_bad_one_for_the_negative_prompt() -> None:
    assert time_ids(5, 640, 512, is_negative=False).tolist() == [512, 640, 0, 0, 6.0]
    assert time_ids(5, 640, 512, is_negative=True).tolist() == [512, 640, 0, 0, 2.5]


def test_another_number_of_time_ids_is_refused() -> None:
    with pytest.raises(PipelineError, match="The unet takes 3 time_ids a prompt"):
        time_ids(3, 64, 64, is_negative=False)


@pytest.mark.parametrize("guidance_scale", [1.0, 1.5, 8.5])
def test_the_guidance_scale_is_told_as_diffusers_tells_it(guidance_scale: float) -> None:
    import torch
    from diffusers import LatentConsistencyModelPipeline

    told = LatentConsistencyModelPipeline.get_guidance_scale_embedding(
        None, torch.tensor([guidance_scale - 1]), embedding_dim=256
    )

    # Angles go up to thousands, where float32, in which diffusers computes them, is coarse.
    np.testing.assert_allclose(guidance_embedding(guidance_scale, 256), told[0].numpy(), atol=1e-3)
