"""Small checkpoints of Stable Diffusion's architecture with random weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

SHAPES_CHECKPOINT = Path(__file__).parents[2] / "examples" / "shapes" / "model"
VOCABULARY_SIZE = 718


def small_unet(**options: Any) -> Any:
    """A UNet of one level with four transformers; `options` are those of `UNet2DConditionModel`."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    defaults: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (32,),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D",),
        "up_block_types": ("CrossAttnUpBlock2D",),
        "cross_attention_dim": 48,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**(defaults | options)).eval()


def sharpened(unet: Any) -> Any:
    """The UNet with attention that prefers one place to another, as trained weights do and random ones hardly."""
    with torch.no_grad():
        for name, weight in unet.named_parameters():
            if "attn" in name:
                weight.mul_(3)
    return unet


def small_checkpoint(folder: Path) -> Path:
    """Writes a whole diffusers folder of a model for pictures of 16 x 16 pixels."""
    from diffusers import AutoencoderKL
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    end = VOCABULARY_SIZE - 1
    text_config = CLIPTextConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        bos_token_id=end - 1,
        eos_token_id=end,
        pad_token_id=end,
    )
    autoencoder = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=16,
        scaling_factor=0.5,
    )
    for name, part in (
        ("text_encoder", CLIPTextModel(text_config)),
        ("unet", small_unet()),
        ("vae", autoencoder),
    ):
        part.save_pretrained(folder / name)
    index = {
        "_class_name": "StableDiffusionPipeline",
        "text_encoder": ["transformers", "CLIPTextModel"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    for name in ("tokenizer", "scheduler"):
        shutil.copytree(SHAPES_CHECKPOINT / name, folder / name)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"prediction_type": "v_prediction"}))
    return folder
