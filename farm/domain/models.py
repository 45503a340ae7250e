"""Models, their forms on a machine's disk, and what is told of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from farm.domain.chips import AttentionVariant
from farm.domain.images import ImageSpec


@dataclass(frozen=True, slots=True)
class DiffusionConfig:
    """What a pipeline must know of a model and cannot read from its packages.

    Attributes:
        scaling_factor: Latents are divided by it before they are decoded. 0.18215 for SD 1.x and 2.x, 0.13025 for SDXL.
        prediction_type: What the UNet predicts.
        beta_start: First noise variance of training.
        beta_end: Last noise variance of training.
        beta_schedule: How the variances between run: linearly, or linearly in their square root ("scaled_linear").
        train_steps: Noise levels in training.
        steps_offset: Added to each step's training index by solvers with "leading" spacing; 1 for Stable Diffusion.
        timestep_spacing: Where a render's steps lie in training: where its sampler usually puts them, or at the noisy
            end of each of as many equal parts ("trailing"), as models that were distilled to a few steps want it.
        pad_token: What a short prompt is padded with for the first text encoder. "<|endoftext|>" for SD 1.x and SDXL,
            "!" for SD 2.x.
        pad_token_2: The same for the second text encoder, if there is one.
        force_zeros_for_empty_prompt: Whether an empty negative prompt means hidden states of zeros rather than those of
            an empty text, as for the SDXL base model.
        refiner_start: Part of the noise levels, from 0 to 1, after which the refiner takes over, if there is one.
        noise: Whose generator turns a seed into noise: numpy's, as Apple's pipelines use it; torch's on a CPU, as in
            diffusers' documentation; or torch's on an NVIDIA GPU, as AUTOMATIC1111 does by default.
        single_step_at: Training step that a render of a single step with lcm or tcd begins at, for models that were
            distilled to another than the noisiest: 800 for Hyper-SDXL's UNet of one step. None if it is the noisiest.
    """

    scaling_factor: float = 0.18215
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "epsilon"
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: Literal["linear", "scaled_linear"] = "scaled_linear"
    train_steps: int = 1000
    steps_offset: int = 1
    timestep_spacing: Literal["usual", "trailing"] = "usual"
    pad_token: str = "<|endoftext|>"  # noqa: S105 - CLIP's end-of-text token, not a secret
    pad_token_2: str = "!"  # noqa: S105 - what OpenCLIP pads with
    force_zeros_for_empty_prompt: bool = False
    refiner_start: float = 0.8
    noise: Literal["numpy", "torch", "nvidia"] = "numpy"
    single_step_at: int | None = None


@dataclass(frozen=True, slots=True)
class ModelVariant:
    """One form of a model on this machine's disk.

    Attributes:
        model: Name of the model it is a form of.
        attention: How its attention is written.
        digest: "sha256:..." over the contents of its packages and tokenizer, and over `config`.
        width: Width in pixels of the images it makes.
        height: Height in pixels of the images it makes.
        precision: How its UNet's weights are stored: "float16", "float32", "palettized-6", "quantized-8", ...
        size_bytes: Bytes of its packages on disk.
        components: Folder of each package by component: text_encoder, text_encoder_2, unet, refiner, vae_decoder, ...
            Where a UNet comes in two halves, they are unet_chunk1 and unet_chunk2, and there is no unet.
        tokenizer: Folder that holds vocab.json and merges.txt.
        config: What the packages do not say of themselves.
        functions: Name of the function that is meant, by component, where a package's default one is not.
    """

    model: str
    attention: AttentionVariant
    digest: str
    width: int
    height: int
    precision: str
    size_bytes: int
    components: Mapping[str, Path]
    tokenizer: Path
    config: DiffusionConfig
    functions: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_compiled(self) -> bool:
        """Whether a part of it is a compiled model, which only Core ML on a Mac can run."""
        return any(path.suffix == ".mlmodelc" for path in self.components.values())

    def parts_of(self, component: str) -> tuple[str, ...]:
        """The keys of `components` that make up a component: itself, its two halves, or none if it is not there."""
        halves = (f"{component}_chunk1", f"{component}_chunk2")
        if component in self.components:
            return (component,)
        return halves if all(half in self.components for half in halves) else ()


@dataclass(frozen=True, slots=True)
class Model:
    """A model and its forms on this machine's disk.

    Attributes:
        name: One word in kebab case.
        display_name: Name for people.
        description: What it is and who made it.
        variants: Its forms.
        defaults: What an image takes where neither it nor its job says anything; complete but for prompt and seed.
    """

    name: str
    display_name: str
    description: str
    variants: tuple[ModelVariant, ...]
    defaults: ImageSpec


@dataclass(frozen=True, slots=True)
class ModelOffer:
    """A model variant that a worker can render with, as it tells the coordinator: no paths."""

    model: str
    attention: AttentionVariant
    digest: str
    width: int
    height: int
    precision: str = "float16"
