"""What a model takes where its manifest says nothing: it follows from the family that its UNet's inputs show.

Published Core ML models bring no word of how they were trained. The numbers are those of the `scheduler_config.json`,
`vae/config.json` and `tokenizer_config.json` beside the checkpoints of each family on the Hugging Face hub.
"""

from collections.abc import Mapping
from dataclasses import replace

from farm.catalogue.manifest import Manifest
from farm.catalogue.roles import is_sdxl, text_width
from farm.domain import DiffusionConfig

_OPEN_CLIP_WIDTH = 1024
"""Channels of OpenCLIP's hidden states, which are Stable Diffusion 2's."""

_V_PREDICTION_WIDTH = 768
"""Stable Diffusion 2 was trained to predict v at this size, and the noise at 512."""


def family_of(inputs: Mapping[str, tuple[int, ...]], width: int) -> Manifest:
    """What holds for a model of a UNet's inputs, unless its manifest says otherwise.

    Args:
        inputs: The UNet's inputs, shapes by name.
        width: Width in pixels of its images.
    """
    family = Manifest()
    if is_sdxl(inputs):
        family = replace(family, config=DiffusionConfig(scaling_factor=0.13025))
    elif text_width(inputs) == _OPEN_CLIP_WIDTH:
        predicts_v = width >= _V_PREDICTION_WIDTH
        config = DiffusionConfig(pad_token="!", prediction_type="v_prediction" if predicts_v else "epsilon")  # noqa: S106 - CLIP's
        family = replace(family, config=config)
    if "timestep_cond" in inputs:  # a latent consistency model: guidance is distilled into it
        family = replace(family, defaults=replace(family.defaults, steps=4, sampler="lcm"))
    return family
