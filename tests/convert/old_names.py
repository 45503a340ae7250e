"""The names that weights have in single-file checkpoints, which are those of Stable Diffusion's first code."""

import functools
import re
from collections.abc import Sequence
from typing import Any

import torch

from farm.convert.checkpoint import Checkpoint

OPEN_CLIP_PADDING = "!"
"""What the first tokenizer pads with where the first text encoder is OpenCLIP's, as in Stable Diffusion 2."""

LAYERS = 1

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_HEAD = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
_VAE = (
    ("conv_shortcut", "nin_shortcut"),
    ("conv_norm_out", "norm_out"),
    ("mid_block.resnets.0", "mid.block_1"),
    ("mid_block.resnets.1", "mid.block_2"),
    ("mid_block.attentions.0", "mid.attn_1"),
    ("group_norm", "norm"),
    ("to_q", "q"),
    ("to_k", "k"),
    ("to_v", "v"),
    ("to_out.0", "proj_out"),
    ("downsamplers.0", "downsample"),
    ("upsamplers.0", "upsample"),
    ("resnets", "block"),
)

_OPEN_CLIP = (
    ("embeddings.token_embedding", "token_embedding"),
    ("embeddings.position_embedding.weight", "positional_embedding"),
    ("final_layer_norm", "ln_final"),
    ("text_projection.weight", "text_projection"),
    ("encoder.layers", "transformer.resblocks"),
    ("layer_norm", "ln_"),
    ("fc1", "c_fc"),
    ("fc2", "c_proj"),
    ("self_attn.out_proj", "attn.out_proj"),
    ("self_attn.q_proj.", "attn.in_proj_"),
)


def old_unet_name(name: str, attended: Sequence[bool]) -> str:
    """The name that a weight of a UNet of two levels had; `attended` says which of the way up have transformers."""
    for new, old in _UNET_HEAD.items():
        if name.startswith(new + "."):
            name = old + name[len(new) :]
    block = LAYERS + 1
    if match := re.match(r"down_blocks\.(\d)\.(resnets|attentions)\.(\d)", name):
        level, kind, layer = int(match[1]), match[2], int(match[3])
        name = f"input_blocks.{block * level + layer + 1}.{int(kind == 'attentions')}" + name[match.end() :]
    elif match := re.match(r"down_blocks\.(\d)\.downsamplers\.0\.conv", name):
        name = f"input_blocks.{block * (int(match[1]) + 1)}.0.op" + name[match.end() :]
    elif match := re.match(r"up_blocks\.(\d)\.(resnets|attentions)\.(\d)", name):
        level, kind, layer = int(match[1]), match[2], int(match[3])
        name = f"output_blocks.{block * level + layer}.{int(kind == 'attentions')}" + name[match.end() :]
    elif match := re.match(r"up_blocks\.(\d)\.upsamplers\.0\.conv", name):
        level = int(match[1])
        name = f"output_blocks.{block * level + LAYERS}.{1 + attended[level]}.conv" + name[match.end() :]
    for new, old in _RESNET.items():
        name = re.sub(rf"(blocks?\.[\d.]*){new}\.", rf"\g<1>{old}.", name)
    return f"model.diffusion_model.{name}"


def old_vae_name(name: str) -> str:
    """The name that a weight of an autoencoder of two levels had."""
    name = re.sub(r"down_blocks\.(\d)", r"down.\1", name)
    name = re.sub(r"up_blocks\.(\d)", lambda match: f"up.{1 - int(match[1])}", name)
    for new, old in _VAE:
        name = name.replace(new, old)
    return f"first_stage_model.{name}"


def old_text_weights(encoder: Any, prefix: str) -> dict[str, torch.Tensor]:
    """The weights of one of transformers' text encoders, as it named them itself, behind a prefix."""
    weights = encoder.state_dict()
    prefix += "" if next(iter(weights)).startswith("text_model.") else "text_model."
    return {prefix + name: weight for name, weight in weights.items()}


def open_clip_weights(encoder: Any, prefix: str) -> dict[str, torch.Tensor]:
    """The weights of a text encoder as OpenCLIP has them: queries, keys and values in one, the projection turned."""
    weights = {name.removeprefix("text_model."): weight for name, weight in encoder.state_dict().items()}

    def joined(name: str, weight: torch.Tensor) -> torch.Tensor:
        if ".q_proj." in name:
            return torch.cat([weights[name.replace("q_proj", f"{part}_proj")] for part in "qkv"])
        return weight.T if name == "text_projection.weight" else weight

    return {
        prefix + functools.reduce(lambda old, pair: old.replace(*pair), _OPEN_CLIP, name): joined(name, weight)
        for name, weight in weights.items()
        if ".k_proj." not in name and ".v_proj." not in name
    }


def old_weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint under the names that they had in files of Stability's."""
    text_encoders = {
        (True, False): {"text_encoder": (old_text_weights, "cond_stage_model.transformer.")},
        (True, True): {
            "text_encoder": (old_text_weights, "conditioner.embedders.0.transformer."),
            "text_encoder_2": (open_clip_weights, "conditioner.embedders.1.model."),
        },
        (False, True): {"text_encoder_2": (open_clip_weights, "conditioner.embedders.0.model.")},
    }[checkpoint.text_encoder is not None, checkpoint.text_encoder_2 is not None]
    if checkpoint.config.pad_token == OPEN_CLIP_PADDING:
        text_encoders = {"text_encoder": (open_clip_weights, "cond_stage_model.model.")}
    weights: dict[str, torch.Tensor] = {}
    for name, (rename, prefix) in text_encoders.items():
        weights |= rename(getattr(checkpoint, name), prefix)
    unet = checkpoint.unet
    attended = ["CrossAttn" in kind for kind in unet.config.up_block_types]
    weights |= {old_unet_name(name, attended): weight for name, weight in unet.state_dict().items()}
    for name, weight in checkpoint.vae.state_dict().items():
        is_attention = re.search(r"to_(q|k|v|out\.0)\.weight", name)
        weights[old_vae_name(name)] = weight[:, :, None, None] if is_attention else weight
    return {name: weight.contiguous() for name, weight in weights.items()}
