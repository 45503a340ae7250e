"""Small checkpoints of each architecture: random networks that nevertheless behave like diffusion models.

So that pictures have contrast and depend on all that goes in, the last layer of each UNet is fitted to predict noise
from its random features, and the decoder is scaled to the latents that come out.
"""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.architectures import (
    LATENT_SIDE,
    POOLED_CHANNELS,
    SPEC,
    TEXT_CHANNELS,
    TEXT_CHANNELS_2,
    TIME_ID_CHANNELS,
    UNET,
    Architecture,
)
from benchmarks.references import CHECKPOINT, quiet
from farm.catalogue import Catalogue
from farm.catalogue.manifest import Manifest
from farm.convert.checkpoint import load_folder
from farm.convert.model import Form, convert_model
from farm.diffusion.schedule import training_sigmas
from farm.domain import AttentionVariant, DiffusionConfig, ModelVariant

VOCABULARY_SIZE = 718


def make_checkpoint(architecture: Architecture, folder: Path) -> Path:
    """Writes the diffusers folder of a small model, the same one each time."""
    import torch

    quiet()
    torch.manual_seed(0)
    pipeline = _assemble(architecture, folder)
    _fit_to_predict_noise(pipeline.unet, pipeline.scheduler.config.prediction_type)
    _give_contrast(pipeline)
    for name, part in pipeline.components.items():
        if hasattr(part, "state_dict"):
            part.save_pretrained(folder / name)
    return folder


def _assemble(architecture: Architecture, folder: Path) -> Any:
    """A pipeline of random networks; its folder has all but their weights."""
    import diffusers
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    scheduler_class, settings = architecture.scheduler
    scheduler = getattr(diffusers, scheduler_class)(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", **settings
    )
    scheduler.save_pretrained(folder / "scheduler")
    unet = diffusers.UNet2DConditionModel(**{**UNET, **architecture.unet}).eval()
    parts: dict[str, Any] = {"unet": unet, "vae": _autoencoder(architecture), "scheduler": scheduler}
    for name in architecture.text_encoders or ("text_encoder",):
        second = name == "text_encoder_2"
        kind = transformers.CLIPTextModelWithProjection if second else transformers.CLIPTextModel
        parts[name] = kind(_text_config(TEXT_CHANNELS_2 if second else TEXT_CHANNELS)).eval()
        tokenizer = folder / name.replace("text_encoder", "tokenizer")
        _write_tokenizer(tokenizer, "!" if second else architecture.pad_token)
        parts[tokenizer.name] = transformers.CLIPTokenizer.from_pretrained(tokenizer)
    absent = {"feature_extractor", "image_encoder"}
    absent |= {"text_encoder", "tokenizer"} if architecture.text_encoders else {"safety_checker"}
    options = {**dict.fromkeys(absent - parts.keys()), **architecture.index}
    if not architecture.text_encoders:
        options["requires_safety_checker"] = False
    pipeline = getattr(diffusers, architecture.pipeline)(**parts, **options)
    (folder / "model_index.json").write_text(pipeline.to_json_string())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _text_config(channels: int) -> Any:
    from transformers import CLIPTextConfig

    end = VOCABULARY_SIZE - 1
    return CLIPTextConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=channels,
        intermediate_size=64,
        projection_dim=POOLED_CHANNELS,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=end - 1,
        eos_token_id=end,
        pad_token_id=end,
    )


def _write_tokenizer(folder: Path, pad_token: str) -> None:
    shutil.copytree(CHECKPOINT / "tokenizer", folder)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | {"pad_token": pad_token}))


def _autoencoder(architecture: Architecture) -> Any:
    import diffusers

    if architecture.tiny_decoder:
        return diffusers.AutoencoderTiny(
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
            scaling_factor=architecture.scaling_factor,
        ).eval()
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=2 * LATENT_SIDE,
        scaling_factor=architecture.scaling_factor,
    ).eval()


def _fit_to_predict_noise(unet: Any, prediction_type: str) -> None:
    """Solves the last layer, by least squares over random latents, for what the network is to predict."""
    import torch

    with torch.no_grad():
        for name, weight in unet.named_parameters():
            if "attn" in name:
                weight.mul_(2)  # attention that prefers one place to another, as trained weights do
            elif "add_embedding" in name:
                weight.mul_(3)  # sizes and scores count
    features: list[Any] = []
    targets: list[Any] = []
    hook = unet.conv_out.register_forward_pre_hook(lambda _module, given: features.append(given[0]))
    sigmas = training_sigmas(DiffusionConfig())
    for timestep in (999, 700, 400, 200, 50, 1):
        alpha = float(1 / np.hypot(sigmas[timestep], 1))
        spread = alpha * float(sigmas[timestep])
        picture, noise = torch.randn(2, 8, 4, LATENT_SIDE, LATENT_SIDE).unbind()
        with torch.no_grad():
            unet(alpha * picture + spread * noise, timestep, **_random_conditions(unet, 8))
        targets.append({"epsilon": noise, "v_prediction": alpha * noise - spread * picture}[prediction_type])
    hook.remove()
    patches = torch.nn.functional.unfold(torch.cat(features), 3, padding=1).transpose(1, 2).flatten(0, 1)
    wanted = torch.cat(targets).flatten(2).transpose(1, 2).flatten(0, 1)
    ridge = 1e-2 * len(patches) * torch.eye(patches.shape[1])
    solved = torch.linalg.solve(patches.T @ patches + ridge, patches.T @ wanted)
    with torch.no_grad():
        unet.conv_out.weight.mul_(2).add_(solved.T.reshape(unet.conv_out.weight.shape))


def _random_conditions(unet: Any, batch: int) -> dict[str, Any]:
    import torch

    config = unet.config
    told: dict[str, Any] = {"encoder_hidden_states": torch.randn(batch, 77, config.cross_attention_dim)}
    if config.addition_embed_type is not None:
        count = (config.projection_class_embeddings_input_dim - POOLED_CHANNELS) // TIME_ID_CHANNELS
        told["added_cond_kwargs"] = {
            "text_embeds": torch.randn(batch, POOLED_CHANNELS),
            "time_ids": torch.full((batch, count), 16.0),
        }
    if config.time_cond_proj_dim is not None:
        told["timestep_cond"] = torch.randn(batch, config.time_cond_proj_dim)
    return told


def _give_contrast(pipeline: Any) -> None:
    """Scales the decoder so that ordinary latents make pictures whose pixels differ much from each other."""
    import torch

    decoder = pipeline.vae.decoder
    is_tiny = hasattr(decoder, "layers")
    first, last = (decoder.layers[0], decoder.layers[-1]) if is_tiny else (decoder.conv_in, decoder.conv_out)
    latents = torch.randn(4, 4, LATENT_SIDE, LATENT_SIDE) / pipeline.vae.config.scaling_factor
    with torch.no_grad():
        for name, weight in decoder.named_parameters():
            if "conv2" in name:
                weight.mul_(5)  # what residual blocks add counts beside the latents, so the scale of these counts
        first.weight.div_(first(latents).std())
        last.weight.mul_(0.5 / pipeline.vae.decode(latents, return_dict=False)[0].std())
        # TAESD's decoder draws from 0 to 1, which is then brought to -1 to 1.
        surplus = pipeline.vae.decode(latents, return_dict=False)[0].mean((0, 2, 3))
        last.bias = torch.nn.Parameter(last.bias - surplus / (2 if is_tiny else 1))


def convert(
    architecture: Architecture,
    folder: Path,
    attention: AttentionVariant,
    precision: str,
    refiner: Path | None = None,
    palette_bits: int | None = None,
) -> ModelVariant:
    """Makes a small checkpoint, converts it and gives what the catalogue finds.

    Args:
        architecture: What to make.
        folder: Gets `checkpoint` and `models`.
        attention: Form to convert it to.
        precision: "float16" or "float32".
        refiner: Checkpoint of its refiner, if it has one.
        palette_bits: Bits of a weight, if they are to be in palettes.
    """
    loaded = load_folder(make_checkpoint(architecture, folder / "checkpoint"), refiner=refiner)
    loaded = dataclasses.replace(loaded, config=dataclasses.replace(loaded.config, **architecture.config))
    size = (SPEC.width, SPEC.height)
    form = Form((attention,), precision, size, palette_bits=palette_bits)
    convert_model(loaded, folder / "models" / "small", form, Manifest())
    (model,) = Catalogue([folder / "models"], folder / "facts.json").models()
    return model.variants[0]
