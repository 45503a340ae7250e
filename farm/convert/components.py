"""The parts of a Stable Diffusion checkpoint under the names and tensor shapes of Apple's published packages.

The contract is that of Apple's converter (ml-stable-diffusion, `torch2coreml.py`): what goes in and comes out of each
component, and what it is called. Whoever renders with Apple's packages can render with these. `timestep_cond`, which
Apple's converter does not know, has diffusers' name and shape.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from farm.convert.attention import with_attention
from farm.convert.checkpoint import LATENT_CHANNELS, Checkpoint
from farm.domain import AttentionVariant

TOKENS = 77

MASKED = -1e4
"""Added to the scores of tokens that must not be seen. Finite in float16, as in Apple's converter: an infinity turns
into NaN wherever a palette or a Neural Engine subtracts it from itself."""


@dataclass(frozen=True, slots=True)
class Component:
    """A part of a model, ready to be traced.

    Attributes:
        name: "text_encoder", "text_encoder_2", "unet", "refiner", "vae_decoder" or "vae_encoder".
        module: Takes the inputs in order, returns the outputs in order.
        inputs: An example of each input by name. float16 examples are declared as float16 and fed as float32 to torch.
        outputs: Names of the outputs.
        dtype: Precision that the package computes in, torch.float16 or torch.float32.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    dtype: torch.dtype = torch.float16

    @property
    def depends_on_attention(self) -> bool:
        """Whether forms of attention differ in it."""
        return self.name in ("unet", "refiner")


def components(
    checkpoint: Checkpoint,
    attention: AttentionVariant,
    *,
    dtype: torch.dtype = torch.float16,
    size: tuple[int, int] | None = None,
    batch: int | None = None,
) -> Iterator[Component]:
    """All parts of a checkpoint with one form of attention.

    Args:
        checkpoint: The model.
        attention: Form of its UNets.
        dtype: Precision to compute in. Autoencoders that overflow in float16, and say so, stay in float32.
        size: Width and height of the images in pixels; what the model was trained on if None.
        batch: Prompts that its UNets take at once: 2 for guidance, 1 without; if None, as the model needs it.

    Raises:
        ConversionError: A UNet cannot be brought into that form.
    """
    width, height = size or checkpoint.trained_size
    latents = (LATENT_CHANNELS, height // checkpoint.latent_cell, width // checkpoint.latent_cell)
    batch = batch or (1 if checkpoint.is_guidance_distilled else 2)
    vae_dtype = torch.float32 if getattr(checkpoint.vae.config, "force_upcast", False) and checkpoint.is_xl else dtype
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    for name, encoder in (("text_encoder", checkpoint.text_encoder), ("text_encoder_2", checkpoint.text_encoder_2)):
        if encoder is not None:
            tokens = torch.randint(0, encoder.config.vocab_size, (1, TOKENS), generator=generator)
            module = PenultimateTextEncoder(encoder) if checkpoint.is_xl else TextEncoder(encoder)
            yield Component(name, module, {"input_ids": tokens.float()}, module.outputs, dtype)
    for name, unet in (("unet", checkpoint.unet), ("refiner", checkpoint.refiner)):
        if unet is not None:
            inputs = {
                "sample": noise(batch, *latents),
                "timestep": torch.full((batch,), 500.0),
                "encoder_hidden_states": noise(batch, unet.config.cross_attention_dim, 1, TOKENS),
                **{extra: noise(batch, count) for extra, count in _conditions(checkpoint, unet).items()},
            }
            if "time_ids" in inputs:
                inputs["time_ids"] = inputs["time_ids"].abs().mul(100).round()
            yield Component(
                name, Unet(unet, attention, tuple(inputs)[3:]), _cast(inputs, dtype), ("noise_pred",), dtype
            )
    decoder_input, encoder_input = {"z": noise(1, *latents)}, {"x": noise(1, 3, height, width)}
    yield Component("vae_decoder", VaeDecoder(checkpoint.vae), _cast(decoder_input, vae_dtype), ("image",), vae_dtype)
    yield Component("vae_encoder", VaeEncoder(checkpoint.vae), _cast(encoder_input, vae_dtype), ("latent",), vae_dtype)


def _conditions(checkpoint: Checkpoint, unet: Any) -> dict[str, int]:
    """Inputs that a UNet has beside latents, step and prompt, and their channels."""
    counts: dict[str, int] = {}
    config = unet.config
    if config.addition_embed_type == "text_time":
        # The embeddings of all time ids and the pooled state are projected together.
        pooled = checkpoint.text_encoder_2.config.projection_dim
        counts["time_ids"] = (config.projection_class_embeddings_input_dim - pooled) // config.addition_time_embed_dim
        counts["text_embeds"] = pooled
    if config.time_cond_proj_dim is not None:
        counts["timestep_cond"] = config.time_cond_proj_dim
    return counts


def _cast(inputs: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: example.to(dtype) for name, example in inputs.items()}


class TextEncoder(nn.Module):
    """Token ids (1, 77), as floats, to hidden states (1, 77, C) and the pooled state (1, C)."""

    outputs: tuple[str, ...] = ("last_hidden_state", "pooled_outputs")

    def __init__(self, model: Any) -> None:
        super().__init__()
        model.set_attn_implementation("eager")
        self.model = model
        self.register_buffer("mask", torch.full((1, 1, TOKENS, TOKENS), MASKED).triu(diagonal=1))

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes a prompt; each token sees itself and those before it."""
        output = self.model(input_ids.long(), attention_mask=self.mask)
        return output.last_hidden_state, output.pooler_output


class PenultimateTextEncoder(TextEncoder):
    """The same for SDXL: the states before the last layer, and the pooled state, projected if the model does so."""

    outputs = ("hidden_embeds", "pooled_outputs")

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes a prompt; each token sees itself and those before it."""
        output = self.model(input_ids.long(), attention_mask=self.mask, output_hidden_states=True)
        pooled = output.text_embeds if "text_embeds" in output else output.pooler_output
        return output.hidden_states[-2], pooled


class Unet(nn.Module):
    """Latents (B, 4, h, w), step (B,) and hidden states (B, C, 1, 77) to the predicted noise (B, 4, h, w).

    Args:
        model: diffusers' `UNet2DConditionModel`.
        attention: Form that its transformers take.
        conditions: Names of the further inputs: time_ids (B, 6) or (B, 5), text_embeds (B, D), timestep_cond (B, E).
    """

    def __init__(self, model: nn.Module, attention: AttentionVariant, conditions: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.model = with_attention(model, attention)
        self.channels_first = attention is not AttentionVariant.ORIGINAL
        self.conditions = conditions

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, *others: Tensor) -> Tensor:
        """Predicts the noise in the latents."""
        if not self.channels_first:
            encoder_hidden_states = encoder_hidden_states.squeeze(2).transpose(1, 2)
        told = dict(zip(self.conditions, others, strict=True))
        prediction: Tensor = self.model(
            sample,
            timestep,
            encoder_hidden_states,
            timestep_cond=told.pop("timestep_cond", None),
            added_cond_kwargs=told,
            return_dict=False,
        )[0]
        return prediction


class VaeDecoder(nn.Module):
    """Latents (1, 4, h, w), divided by the scaling factor, to an image (1, 3, H, W) in [-1, 1]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor) -> Tensor:
        """Decodes latents."""
        image: Tensor = self.model.decode(z, return_dict=False)[0]
        return image


class VaeEncoder(nn.Module):
    """An image (1, 3, H, W) in [-1, 1] to its latents' mean and logarithmic variance (1, 8, h, w).

    A tiny autoencoder has no variance and gives latents (1, 4, h, w).
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.encoder
        project = getattr(model, "quant_conv", None)
        self.project = project if project is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Encodes an image."""
        latent: Tensor = self.project(self.encoder(x))
        return latent
