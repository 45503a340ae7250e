"""The three networks: classes and files of Stable Diffusion, in sizes that fit into a source tree."""

from typing import Any

from examples.shapes.scenes import SIDE

TOKENS = 77
TEXT_WIDTH = 96
LATENT_SIDE = SIDE // 8
TRAIN_STEPS, BETA_START, BETA_END = 1000, 0.00085, 0.012


def text_encoder(vocabulary_size: int) -> Any:
    """CLIP's text encoder with 0.3 million weights."""
    from transformers import CLIPTextConfig, CLIPTextModel

    start, end = vocabulary_size - 2, vocabulary_size - 1
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary_size,
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            hidden_act="quick_gelu",
            bos_token_id=start,
            eos_token_id=end,
            pad_token_id=end,
        )
    )


def unet() -> Any:
    """A UNet of two levels with 2.8 million weights, for latents 8 x 8."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=4,
        out_channels=4,
        block_out_channels=(64, 96),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def autoencoder() -> Any:
    """An autoencoder with 0.7 million weights, which shrinks pictures eightfold."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=SIDE,
    )


def sampler() -> Any:
    """The diffusion process that the UNet is trained for, as diffusers' files name it."""
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        num_train_timesteps=TRAIN_STEPS,
        beta_start=BETA_START,
        beta_end=BETA_END,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        algorithm_type="dpmsolver++",
        solver_order=2,
        steps_offset=1,
    )
