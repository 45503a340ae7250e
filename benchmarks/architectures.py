"""The architectures that the farm renders with, small, and diffusers' own pipelines for them as the reference.

The networks are those of the published models in everything but their numbers of channels, levels and layers.
`benchmarks.small_models` makes them.
"""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.references import REFERENCES, make_scheduler, quiet
from farm.domain import DiffusionConfig, RenderSpec

TEXT_CHANNELS = 48
TEXT_CHANNELS_2 = 56
POOLED_CHANNELS = 32
TIME_ID_CHANNELS = 8
LATENT_SIDE = 8

PROMPT = "a large yellow star on a blue background"

SOLVERS = tuple(REFERENCES)
"""Every sampler that diffusers has a reference for."""

USUAL = tuple(name for name in SOLVERS if name != "tcd")
"""Those for models that are no consistency models; lcm is tried with these nevertheless."""

FIRST_ORDER = ("euler", "euler-ancestral", "ddim")
"""Those that keep nothing from one step to the next, so that a second pipeline can go on where a first one stopped."""

Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A kind of model, small.

    Attributes:
        pipeline: diffusers' pipeline for it.
        unet: Settings of its UNet beside `UNET`.
        text_encoders: Which of SDXL's text encoders it has; none means that of SD 1.x.
        tiny_decoder: Whether its autoencoder is TAESD's.
        scaling_factor: That of its autoencoder.
        scheduler: Name and settings of its scheduler.
        pad_token: What its first tokenizer pads with.
        index: What else stands in its model_index.json.
        refined_by: Architecture of its refiner, if it has one.
        spec: Changes to `SPEC` for it.
        samplers: Those that it is used with.
        config: What its files do not say, and its user must.
    """

    pipeline: str = "StableDiffusionPipeline"
    unet: Settings = field(default_factory=dict)
    text_encoders: tuple[str, ...] = ()
    tiny_decoder: bool = False
    scaling_factor: float = 0.18215
    scheduler: tuple[str, Settings] = ("PNDMScheduler", {"steps_offset": 1})
    pad_token: str = "<|endoftext|>"
    index: Settings = field(default_factory=dict)
    refined_by: str = ""
    spec: Settings = field(default_factory=dict)
    samplers: Sequence[str] = USUAL
    config: Settings = field(default_factory=dict)


SPEC = RenderSpec(
    prompt=PROMPT,
    negative_prompt="a red circle",
    seed=1234,
    width=16,
    height=24,
    steps=8,
    guidance_scale=3.0,
    sampler="dpmpp-2m",
)

UNET: Settings = {
    "sample_size": LATENT_SIDE,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": TEXT_CHANNELS,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
}
_SD2: Settings = {"use_linear_projection": True, "upcast_attention": True, "attention_head_dim": (2, 4)}
_XL: Settings = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2),
    "use_linear_projection": True,
    "attention_head_dim": (2, 4),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": TIME_ID_CHANNELS,
    "projection_class_embeddings_input_dim": POOLED_CHANNELS + 6 * TIME_ID_CHANNELS,
    "cross_attention_dim": TEXT_CHANNELS + TEXT_CHANNELS_2,
}
_REFINER: Settings = {
    **_XL,
    "projection_class_embeddings_input_dim": POOLED_CHANNELS + 5 * TIME_ID_CHANNELS,
    "cross_attention_dim": TEXT_CHANNELS_2,
}
_SDXS: Settings = {
    "block_out_channels": (16, 32, 32),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "mid_block_type": None,
}
_BOTH = ("text_encoder", "text_encoder_2")
_TRAILING: Settings = {"timestep_spacing": "trailing"}
_DDIM: Settings = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
_UNGUIDED: Settings = {"steps": 2, "guidance_scale": 1.0, "negative_prompt": "", "sampler": "euler"}

ARCHITECTURES: Mapping[str, Architecture] = {
    "SD 1.x": Architecture(),
    "SD 2.x, v prediction": Architecture(
        unet=_SD2,
        scheduler=("DDIMScheduler", _DDIM | {"prediction_type": "v_prediction"}),
        pad_token="!",
        samplers=[name for name in USUAL if name != "pndm"],  # diffusers' own averages v's of unlike noise levels
    ),
    "SDXL base": Architecture(
        pipeline="StableDiffusionXLPipeline",
        unet=_XL,
        text_encoders=_BOTH,
        scaling_factor=0.13025,
        scheduler=("EulerDiscreteScheduler", {"timestep_spacing": "leading", "steps_offset": 1}),
        index={"force_zeros_for_empty_prompt": True},
    ),
    "SDXL refiner": Architecture(
        pipeline="StableDiffusionXLImg2ImgPipeline",
        unet=_REFINER,
        text_encoders=_BOTH[1:],
        scaling_factor=0.13025,
        scheduler=("EulerDiscreteScheduler", {"timestep_spacing": "leading", "steps_offset": 1}),
        index={"force_zeros_for_empty_prompt": False, "requires_aesthetics_score": True},
        spec={"strength": 0.5},
        samplers=[name for name in USUAL if name != "pndm"],  # diffusers' own goes wrong from a picture
    ),
    "SDXL base with refiner": Architecture(
        pipeline="StableDiffusionXLPipeline",
        unet=_XL,
        text_encoders=_BOTH,
        scaling_factor=0.13025,
        scheduler=("EulerDiscreteScheduler", {"timestep_spacing": "leading", "steps_offset": 1}),
        index={"force_zeros_for_empty_prompt": True},
        refined_by="SDXL refiner",
        spec={"negative_prompt": "", "sampler": "euler"},
        samplers=FIRST_ORDER,
    ),
    "SD-Turbo": Architecture(
        unet=_SD2,
        scheduler=("EulerDiscreteScheduler", _TRAILING),
        pad_token="!",
        spec=_UNGUIDED,
        samplers=(*FIRST_ORDER, "dpmpp-2m", "unipc", "lcm"),
    ),
    "SDXL-Turbo": Architecture(
        pipeline="StableDiffusionXLPipeline",
        unet=_XL,
        text_encoders=_BOTH,
        scaling_factor=0.13025,
        scheduler=("EulerAncestralDiscreteScheduler", _TRAILING),
        index={"force_zeros_for_empty_prompt": True},
        spec=_UNGUIDED | {"sampler": "euler-ancestral"},
        samplers=(*FIRST_ORDER, "dpmpp-2m", "unipc", "lcm"),
    ),
    "SDXS-512": Architecture(
        unet=_SDXS,
        tiny_decoder=True,
        scaling_factor=1.0,
        scheduler=("EulerDiscreteScheduler", _TRAILING),
        spec=_UNGUIDED | {"steps": 1},
        samplers=("euler", "ddim", "lcm"),
    ),
    "LCM": Architecture(
        pipeline="LatentConsistencyModelPipeline",
        unet={"time_cond_proj_dim": 256},
        scheduler=("LCMScheduler", {"steps_offset": 1}),
        spec={"steps": 4, "guidance_scale": 8.5, "negative_prompt": "", "sampler": "lcm"},
        samplers=("lcm",),
    ),
    "Hyper-SD": Architecture(
        scheduler=("DDIMScheduler", _DDIM | _TRAILING),
        spec=_UNGUIDED | {"steps": 8, "sampler": "ddim"},
        samplers=("ddim", "euler", "lcm", "tcd"),
    ),
    "Hyper-SDXL, one step": Architecture(
        pipeline="StableDiffusionXLPipeline",
        unet=_XL,
        text_encoders=_BOTH,
        scaling_factor=0.13025,
        scheduler=("LCMScheduler", {"steps_offset": 1}),
        index={"force_zeros_for_empty_prompt": True},
        spec=_UNGUIDED | {"steps": 1, "sampler": "lcm"},
        samplers=("lcm", "tcd"),
        config={"single_step_at": 800},
    ),
    "SD 1.x with TAESD": Architecture(tiny_decoder=True, scaling_factor=1.0),
}
"""Kinds of models by name. Hyper-SD's networks are SD 1.x's, used as distilled ones are: no guidance, few steps."""


def init_image() -> bytes:
    """A picture to start from: bands of colour, as PNG, of another size than is rendered."""
    from PIL import Image

    rows, columns = np.mgrid[0:40, 0:32]
    picture = np.stack([rows * 6, columns * 8, (rows + columns) * 3], axis=2).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def spec_for(architecture: Architecture, **changes: Any) -> RenderSpec:
    """What is rendered with an architecture; one that refines pictures gets one."""
    spec = dataclasses.replace(SPEC, **{**architecture.spec, **changes})
    return dataclasses.replace(spec, init_image=init_image()) if spec.strength is not None else spec


class Reference:
    """diffusers' pipeline over a checkpoint, in torch float32.

    Args:
        architecture: What it is.
        folder: Its diffusers folder.
        refiner: diffusers folder of its refiner, if it has one.
    """

    def __init__(self, architecture: Architecture, folder: Path, refiner: Path | None = None) -> None:
        import diffusers

        quiet()
        self._pipeline = _load(getattr(diffusers, architecture.pipeline), folder)
        self._refiner = _load(diffusers.StableDiffusionXLImg2ImgPipeline, refiner) if refiner else None
        if self._refiner is not None:  # published refiners have the base model's
            self._refiner.register_modules(vae=self._pipeline.vae, text_encoder_2=self._pipeline.text_encoder_2)

    def render(self, spec: RenderSpec, config: DiffusionConfig) -> NDArray[np.uint8]:
        """Pixels (height, width, 3) of an image."""
        import diffusers
        import torch

        pipeline = self._pipeline
        options: dict[str, Any] = {"width": spec.width, "height": spec.height}
        if spec.init_image is not None:
            from PIL import Image

            pipeline = diffusers.AutoPipelineForImage2Image.from_pipe(pipeline)
            pipeline.set_progress_bar_config(disable=True)
            picture = Image.open(io.BytesIO(spec.init_image)).convert("RGB")
            options = {
                "image": picture.resize((spec.width, spec.height), Image.Resampling.LANCZOS),
                "strength": spec.strength,
            }
        common: dict[str, Any] = {
            "prompt": spec.prompt,
            "num_inference_steps": spec.steps,
            "guidance_scale": spec.guidance_scale,
            "generator": torch.Generator().manual_seed(spec.seed),
            **REFERENCES[spec.sampler].options,
        }
        if spec.steps == 1 and config.single_step_at is not None:
            common["timesteps"] = [config.single_step_at]
        if "Consistency" not in type(pipeline).__name__:
            common["negative_prompt"] = spec.negative_prompt or None
        pipeline.scheduler = make_scheduler(REFERENCES[spec.sampler], config)
        if self._refiner is not None:
            self._refiner.scheduler = make_scheduler(REFERENCES[spec.sampler], config)
            latents = pipeline(**common, **options, denoising_end=config.refiner_start, output_type="latent").images
            pipeline, options = self._refiner, {"image": latents, "denoising_start": config.refiner_start}
        image = pipeline(**common, **options, output_type="np").images[0]
        pixels: NDArray[np.uint8] = np.rint(image * 255).astype(np.uint8)
        return pixels


def _load(kind: Any, folder: Path) -> Any:
    import torch

    pipeline = kind.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
