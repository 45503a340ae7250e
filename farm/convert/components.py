"""The parts of a Stable Diffusion checkpoint under the names and tensor shapes of Apple's published packages.

The contract is that of Apple's converter (ml-stable-diffusion, `torch2coreml.py`): what goes in and comes out of each
component, and what it is called. Whoever renders with Apple's packages can render with these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from farm.convert.attention import with_attention
from farm.domain import AttentionVariant
from farm.errors import ConversionError

TOKENS = 77
LATENT_CHANNELS = 4
GUIDANCE_BATCH = 2
"""The UNet takes the unconditional and the conditional half of guidance at once."""

MASKED = -1e4
"""Added to the scores of tokens that must not be seen. Finite in float16, as in Apple's converter: an infinity turns
into NaN wherever a palette or a Neural Engine subtracts it from itself."""


@dataclass(frozen=True, slots=True)
class Component:
    """A part of a model, ready to be traced.

    Attributes:
        name: "text_encoder", "unet", "vae_decoder" or "vae_encoder".
        module: Takes the inputs in order, returns the outputs in order.
        inputs: An example of each input by name. float16 examples are declared as float16 and fed as float32 to torch.
        outputs: Names of the outputs.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A diffusers folder in memory, in float32.

    Attributes:
        text_encoder: transformers' `CLIPTextModel`.
        unet: diffusers' `UNet2DConditionModel`.
        vae: diffusers' `AutoencoderKL`.
    """

    text_encoder: Any
    unet: Any
    vae: Any

    @property
    def latent_side(self) -> int:
        """Height and width of the latents that it was trained on."""
        side: int = self.unet.config.sample_size
        return side

    @property
    def pixel_side(self) -> int:
        """Height and width in pixels of the images that it was trained on."""
        doublings: int = len(self.vae.config.block_out_channels) - 1
        return self.latent_side << doublings


def load_checkpoint(folder: Path) -> Checkpoint:
    """Reads a diffusers folder of a Stable Diffusion 1.x or 2.x model. Only safetensors are read: they run no code.

    Raises:
        ConversionError: A part is missing or is not what its config says.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    options = {"use_safetensors": True, "local_files_only": True}
    network_options = {**options, "torch_dtype": torch.float32, "low_cpu_mem_usage": False}
    try:
        checkpoint = Checkpoint(
            text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32, **options).eval(),
            unet=UNet2DConditionModel.from_pretrained(folder / "unet", **network_options).eval(),
            vae=AutoencoderKL.from_pretrained(folder / "vae", **network_options).eval(),
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ConversionError(
            f"{folder} cannot be read as a diffusers folder of Stable Diffusion 1.x or 2.x: {error} "
            "It must hold text_encoder/, unet/ and vae/, each with config.json and .safetensors weights."
        ) from error
    config = checkpoint.unet.config
    if config.in_channels != LATENT_CHANNELS or config.addition_embed_type is not None:
        raise ConversionError(
            f"{folder} holds a UNet with {config.in_channels} input channels and {config.addition_embed_type or 'no'} "
            "additional conditions; only text-to-image models of Stable Diffusion 1.x and 2.x can be converted"
        )
    return checkpoint


def components(checkpoint: Checkpoint, attention: AttentionVariant) -> tuple[Component, ...]:
    """All parts of a checkpoint with one form of attention; sizes are those of the checkpoint's configs.

    Raises:
        ConversionError: The UNet cannot be brought into that form.
    """
    side, pixels = checkpoint.latent_side, checkpoint.pixel_side
    width = checkpoint.unet.config.cross_attention_dim
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).half()

    tokens = torch.randint(0, checkpoint.text_encoder.config.vocab_size, (1, TOKENS), generator=generator)
    return (
        Component(
            "text_encoder",
            TextEncoder(checkpoint.text_encoder),
            {"input_ids": tokens.float()},
            ("last_hidden_state", "pooled_outputs"),
        ),
        Component(
            "unet",
            Unet(checkpoint.unet, attention),
            {
                "sample": noise(GUIDANCE_BATCH, LATENT_CHANNELS, side, side),
                "timestep": torch.full((GUIDANCE_BATCH,), 500.0).half(),
                "encoder_hidden_states": noise(GUIDANCE_BATCH, width, 1, TOKENS),
            },
            ("noise_pred",),
        ),
        Component("vae_decoder", VaeDecoder(checkpoint.vae), {"z": noise(1, LATENT_CHANNELS, side, side)}, ("image",)),
        Component("vae_encoder", VaeEncoder(checkpoint.vae), {"x": noise(1, 3, pixels, pixels)}, ("latent",)),
    )


class TextEncoder(nn.Module):
    """Token ids (1, 77), as floats, to hidden states (1, 77, C) and the pooled state (1, C)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        model.set_attn_implementation("eager")
        self.model = model
        self.register_buffer("mask", torch.full((1, 1, TOKENS, TOKENS), MASKED).triu(diagonal=1))

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes a prompt; each token sees itself and those before it."""
        output = self.model(input_ids.long(), attention_mask=self.mask)
        return output.last_hidden_state, output.pooler_output


class Unet(nn.Module):
    """Latents (2, 4, h, w), step (2,) and hidden states (2, C, 1, 77) to the predicted noise (2, 4, h, w)."""

    def __init__(self, model: nn.Module, attention: AttentionVariant) -> None:
        super().__init__()
        self.model = with_attention(model, attention)
        self.channels_first = attention is not AttentionVariant.ORIGINAL

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Predicts the noise in the latents."""
        if not self.channels_first:
            encoder_hidden_states = encoder_hidden_states.squeeze(2).transpose(1, 2)
        prediction: Tensor = self.model(sample, timestep, encoder_hidden_states, return_dict=False)[0]
        return prediction


class VaeDecoder(nn.Module):
    """Latents (1, 4, h, w), divided by the scaling factor, to an image (1, 3, 8h, 8w) in [-1, 1]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor) -> Tensor:
        """Decodes latents."""
        image: Tensor = self.model.decode(z, return_dict=False)[0]
        return image


class VaeEncoder(nn.Module):
    """An image (1, 3, 8h, 8w) in [-1, 1] to its latents' mean and logarithmic variance (1, 8, h, w)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.project = model.quant_conv if model.quant_conv is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Encodes an image."""
        latent: Tensor = self.project(self.encoder(x))
        return latent
