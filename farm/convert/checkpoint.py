"""Checkpoints in memory: diffusers folders of the Stable Diffusion family, loaded without running code from them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from farm.catalogue.layout import TOKENIZER_FILES
from farm.catalogue.manifest import STABLE_DIFFUSION_DEFAULTS, config_problems
from farm.domain import DiffusionConfig, ImageSpec
from farm.errors import ConversionError

LATENT_CHANNELS = 4

PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "LatentConsistencyModelPipeline",
    "LatentConsistencyModelImg2ImgPipeline",
)
"""diffusers' pipelines whose checkpoints can be converted."""

_ADDITIONS = (None, "text_time")
"""Conditions that a UNet may take beside the prompt: none, or SDXL's."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The networks of a model in float32, and what else its files say.

    Attributes:
        text_encoder: transformers' `CLIPTextModel`; None if there is none, as in the SDXL refiner.
        text_encoder_2: transformers' `CLIPTextModelWithProjection` of SDXL; None elsewhere.
        unet: diffusers' `UNet2DConditionModel`.
        refiner: The same of an SDXL refiner that goes with it; None if there is none.
        vae: diffusers' `AutoencoderKL` or `AutoencoderTiny`.
        tokenizer: vocab.json and merges.txt.
        config: What the networks do not say of themselves.
        defaults: Steps, guidance and sampler that the model was made for.
    """

    text_encoder: Any
    text_encoder_2: Any
    unet: Any
    refiner: Any
    vae: Any
    tokenizer: tuple[Path, ...]
    config: DiffusionConfig
    defaults: ImageSpec

    @property
    def is_xl(self) -> bool:
        """Whether it is of SDXL's kind, whose text encoders give their penultimate states."""
        return self.text_encoder_2 is not None

    @property
    def is_guidance_distilled(self) -> bool:
        """Whether its UNet is told the guidance scale, so that it never needs a negative prompt."""
        return self.unet.config.time_cond_proj_dim is not None

    @property
    def latent_cell(self) -> int:
        """Pixels along the side of one latent."""
        doublings: int = len(self.vae.config.block_out_channels) - 1
        return 1 << doublings

    @property
    def trained_size(self) -> tuple[int, int]:
        """Width and height in pixels of the images that it was trained on."""
        side = self.unet.config.sample_size
        height, width = side if isinstance(side, list | tuple) else (side, side)
        return width * self.latent_cell, height * self.latent_cell


def load_folder(folder: Path, *, refiner: Path | None = None, vae: Path | None = None) -> Checkpoint:
    """Reads a diffusers folder. Only safetensors are read: they run no code.

    Args:
        folder: The folder, with model_index.json.
        refiner: diffusers folder of an SDXL refiner whose UNet shall finish the images.
        vae: diffusers folder of an autoencoder to use instead of the checkpoint's own, for example TAESD's.

    Raises:
        ConversionError: A part is missing or not what its config says, or the model is of another kind.
    """
    # What may be missing is looked for first: loading takes a while.
    index = read_index(folder)
    tokenizer = tokenizer_files(folder)
    config = read_config(folder, index, vae)
    parts = _load_parts(folder, index)
    return make_checkpoint(
        folder,
        parts,
        config,
        read_defaults(folder),
        tokenizer,
        refiner_unet=load_refiner_unet(refiner) if refiner else None,
        vae=load_vae(vae) if vae else None,
    )


def make_checkpoint(
    source: Path,
    parts: Mapping[str, Any],
    config: DiffusionConfig,
    defaults: ImageSpec,
    tokenizer: tuple[Path, ...],
    *,
    refiner_unet: Any = None,
    vae: Any = None,
) -> Checkpoint:
    """Puts loaded parts together.

    Args:
        source: Where they come from, for messages.
        parts: Networks by the names of diffusers' pipelines.
        config: What they do not say of themselves.
        defaults: What the model was made for.
        tokenizer: vocab.json and merges.txt.
        refiner_unet: UNet of a refiner.
        vae: Autoencoder to use instead of the parts' own.

    Raises:
        ConversionError: The UNet takes what the farm does not give.
    """
    checkpoint = Checkpoint(
        text_encoder=parts.get("text_encoder"),
        text_encoder_2=parts.get("text_encoder_2"),
        unet=parts["unet"],
        refiner=refiner_unet,
        vae=vae if vae is not None else parts["vae"],
        tokenizer=tokenizer,
        config=config,
        defaults=defaults,
    )
    for unet in (checkpoint.unet, checkpoint.refiner):
        if unet is not None and (
            unet.config.in_channels != LATENT_CHANNELS or unet.config.addition_embed_type not in _ADDITIONS
        ):
            raise ConversionError(
                f"{source} holds a UNet with {unet.config.in_channels} input channels and "
                f"{unet.config.addition_embed_type or 'no'} additional conditions; only text-to-image models of Stable "
                "Diffusion 1.x, 2.x and XL can be converted"
            )
    return checkpoint


def read_index(folder: Path) -> Mapping[str, Any]:
    """A diffusers folder's model_index.json.

    Raises:
        ConversionError: There is none, or it is that of another kind of model.
    """
    index = read_json(folder / "model_index.json")
    if index.get("_class_name") not in PIPELINES:
        raise ConversionError(
            f"{folder} is a model for diffusers' {index.get('_class_name')}; only those for {', '.join(PIPELINES)} can "
            "be converted"
        )
    return index


def read_config(folder: Path, index: Mapping[str, Any], vae: Path | None = None) -> DiffusionConfig:
    """What a pipeline must know of a checkpoint, from its scheduler's, autoencoder's and tokenizers' own files.

    Raises:
        ConversionError: One of the files is missing or unreadable, or tells of a diffusion that the farm does not know.
    """
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    autoencoder = read_json((vae or folder / "vae") / "config.json")
    usual = DiffusionConfig()
    values = {
        "scaling_factor": autoencoder.get("scaling_factor", usual.scaling_factor),
        "prediction_type": scheduler.get("prediction_type", "epsilon"),
        "beta_start": scheduler.get("beta_start"),
        "beta_end": scheduler.get("beta_end"),
        "beta_schedule": scheduler.get("beta_schedule"),
        "train_steps": scheduler.get("num_train_timesteps"),
        "steps_offset": scheduler.get("steps_offset", 0),
        "timestep_spacing": "trailing" if scheduler.get("timestep_spacing") == "trailing" else "usual",
        "pad_token": _pad_token(folder / "tokenizer", usual.pad_token),
        "pad_token_2": _pad_token(folder / "tokenizer_2", usual.pad_token_2),
        "force_zeros_for_empty_prompt": bool(index.get("force_zeros_for_empty_prompt")),
    }
    problems = config_problems(values)
    if scheduler.get("rescale_betas_zero_snr"):
        problems.append("rescale_betas_zero_snr is set")
    if problems:
        raise ConversionError(
            f"{folder} was trained with a diffusion that the farm does not sample ({'; '.join(problems)}); "
            "only models like Stable Diffusion 1.x, 2.x and XL can be converted"
        )
    return DiffusionConfig(**values)


def read_defaults(folder: Path) -> ImageSpec:
    """Steps, guidance and sampler that a checkpoint was made for, as far as its scheduler tells."""
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    if scheduler.get("_class_name") == "LCMScheduler":
        return ImageSpec(steps=4, guidance_scale=8.5, sampler="lcm")
    if scheduler.get("_class_name") == "TCDScheduler":
        return ImageSpec(steps=4, guidance_scale=1.0, sampler="tcd")
    if scheduler.get("timestep_spacing") == "trailing":
        ancestral = scheduler.get("_class_name") == "EulerAncestralDiscreteScheduler"
        return ImageSpec(steps=4, guidance_scale=1.0, sampler="euler-ancestral" if ancestral else "euler")
    return STABLE_DIFFUSION_DEFAULTS


def tokenizer_files(folder: Path) -> tuple[Path, ...]:
    """Where a diffusers folder has vocab.json and merges.txt; both tokenizers of SDXL have the same.

    Raises:
        ConversionError: They are missing.
    """
    place = next((folder / name for name in ("tokenizer", "tokenizer_2") if (folder / name).is_dir()), folder)
    return tuple(_existing(place / file) for file in TOKENIZER_FILES)


def read_json(file: Path) -> dict[str, Any]:
    """A file that holds a JSON object.

    Raises:
        ConversionError: It is missing or holds something else.
    """
    try:
        values = json.loads(_existing(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConversionError(f"{file} is not JSON ({error}); fetch the checkpoint again") from error
    if not isinstance(values, dict):
        raise ConversionError(f"{file} holds no JSON object; fetch the checkpoint again")
    return values


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise ConversionError(f"{file} is missing, so the checkpoint is not complete; fetch it again")
    return file


def _pad_token(tokenizer: Path, usual: str) -> str:
    """What the reference's tokenizer pads with. Its files disagree with each other, so it is asked."""
    if not tokenizer.is_dir():
        return usual
    from transformers import CLIPTokenizer

    try:
        return str(CLIPTokenizer.from_pretrained(tokenizer, local_files_only=True).pad_token)
    except Exception as error:  # the Rust tokenizer raises no narrower one, whatever is wrong with its files
        raise ConversionError(f"{tokenizer} cannot be read as a tokenizer: {error}. Fetch it again.") from error


def _load_parts(folder: Path, index: Mapping[str, Any]) -> dict[str, Any]:
    """The networks that a folder's index names, in float32."""
    import diffusers
    import transformers

    classes = {
        "CLIPTextModel": transformers.CLIPTextModel,
        "CLIPTextModelWithProjection": transformers.CLIPTextModelWithProjection,
        "UNet2DConditionModel": diffusers.UNet2DConditionModel,
        "AutoencoderKL": diffusers.AutoencoderKL,
        "AutoencoderTiny": diffusers.AutoencoderTiny,
    }
    parts: dict[str, Any] = {}
    for name in ("text_encoder", "text_encoder_2", "unet", "vae"):
        _library, class_name = index.get(name) or (None, None)
        if class_name is None:
            continue
        if class_name not in classes:
            raise ConversionError(f"{folder / name} is a {class_name}; known are {', '.join(classes)}")
        parts[name] = _load(classes[class_name], folder / name)
    missing = {"unet", "vae"} - parts.keys()
    if missing:
        raise ConversionError(f"{folder} names no {' and no '.join(sorted(missing))} in its model_index.json")
    return parts


def load_refiner_unet(folder: Path) -> Any:
    """The UNet of a refiner's diffusers folder.

    Raises:
        ConversionError: It cannot be read.
    """
    return _load_parts(folder, read_index(folder))["unet"]


def load_vae(folder: Path) -> Any:
    """The autoencoder in a folder of its own.

    Raises:
        ConversionError: It cannot be read, or is of another kind.
    """
    import diffusers

    kind = read_json(folder / "config.json").get("_class_name")
    if kind not in ("AutoencoderKL", "AutoencoderTiny"):
        raise ConversionError(f"{folder} holds a {kind}; an AutoencoderKL or AutoencoderTiny is wanted")
    return _load(getattr(diffusers, kind), folder)


def _load(kind: Any, folder: Path) -> Any:
    is_text_encoder = kind.__name__.startswith("CLIP")
    options = {} if is_text_encoder else {"low_cpu_mem_usage": False}
    try:
        return kind.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, **options
        ).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise ConversionError(
            f"{folder} cannot be read as a part of a diffusers folder: {error} "
            "It must hold config.json and weights as .safetensors."
        ) from error
