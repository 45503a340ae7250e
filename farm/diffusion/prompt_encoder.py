"""Prompts as UNets are told them: tokenized and encoded, with whatever else goes along with them."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from farm.diffusion.components import Condition, Hidden, TextEncoder, Unet
from farm.diffusion.tokenizer import Tokenizer
from farm.errors import PipelineError

_REMEMBERED_PROMPTS = 64

_AESTHETIC_SCORE = 6.0
_NEGATIVE_AESTHETIC_SCORE = 2.5
"""What the SDXL refiner is told of how good the image shall look, and how good the opposite of it (diffusers' own)."""


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt as text encoders put it.

    Attributes:
        hidden: Hidden states (tokens, channels) of each text encoder.
        pooled: What the last text encoder says of the prompt as a whole, (channels,); None if it says nothing.
        ignored: The end of the prompt that was left out; empty if all of it was read.
    """

    hidden: tuple[Hidden, ...]
    pooled: NDArray[np.float32] | None
    ignored: str

    def zeroed(self) -> "EncodedPrompt":
        """Zeros in the place of all that the encoders said."""
        pooled = None if self.pooled is None else np.zeros_like(self.pooled)
        return replace(self, hidden=tuple(np.zeros_like(hidden) for hidden in self.hidden), pooled=pooled)


class PromptEncoder:
    """Reads prompts with each text encoder of a model; remembers the latest prompts.

    A batch repeats its negative prompt in every image, and often its prompt.

    Args:
        encoders: Each text encoder with its tokenizer, in the order of their hidden states.
    """

    def __init__(self, encoders: Sequence[tuple[Tokenizer, TextEncoder]]) -> None:
        self._encoders = encoders
        self.encode = functools.lru_cache(_REMEMBERED_PROMPTS)(self._encode)

    def _encode(self, prompt: str) -> EncodedPrompt:
        hidden: list[Hidden] = []
        for tokenizer, encoder in self._encoders:
            tokens = tokenizer(prompt)
            states, pooled = encoder.encode(tokens.ids)
            hidden.append(states)
        return EncodedPrompt(tuple(hidden), pooled, tokens.ignored)


def condition(
    unet: Unet, prompt: EncodedPrompt, *, is_negative: bool, width: int, height: int, guidance_scale: float
) -> Condition:
    """All that a UNet is told of one prompt, by what it takes.

    Args:
        unet: Whom it is told.
        prompt: The prompt.
        is_negative: Whether it is what the image shall not show.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        guidance_scale: How strongly the prompt steers, for UNets that were distilled to be told it.

    Raises:
        PipelineError: The text encoders do not give what the UNet takes.
    """
    told: dict[str, NDArray[np.float32]] = {"encoder_hidden_states": _joined(prompt.hidden, unet)}
    if "text_embeds" in unet.widths:
        if prompt.pooled is None:
            raise PipelineError(
                "The unet takes text_embeds, which are the pooled output of the last text encoder, and that gives none."
                " Convert the text encoder again with Apple's names.",
                component="unet",
            )
        told["text_embeds"] = prompt.pooled
    if "time_ids" in unet.widths:
        told["time_ids"] = time_ids(unet.widths["time_ids"], width, height, is_negative=is_negative)
    if "timestep_cond" in unet.widths:
        told["timestep_cond"] = guidance_embedding(guidance_scale, unet.widths["timestep_cond"])
    return told


def time_ids(count: int, width: int, height: int, *, is_negative: bool) -> NDArray[np.float32]:
    """What SDXL is told of its picture (Podell et al. 2023, arXiv:2307.01952, section 2.2).

    The base model: original size, offset of the crop, wanted size. The refiner: an aesthetic score in the wanted size's
    place. The picture counts as one that was not cropped and is shown as it was.

    Args:
        count: 6 for the base model, 5 for the refiner.
        width: Width in pixels.
        height: Height in pixels.
        is_negative: Whether it goes with the negative prompt.

    Raises:
        PipelineError: `count` is neither.
    """
    score = _NEGATIVE_AESTHETIC_SCORE if is_negative else _AESTHETIC_SCORE
    endings: Mapping[int, tuple[float, ...]] = {6: (height, width), 5: (score,)}
    if count not in endings:
        raise PipelineError(
            f"The unet takes {count} time_ids a prompt. Known are SDXL's 6 and its refiner's 5; this is another model.",
            component="unet",
        )
    return np.array((height, width, 0, 0, *endings[count]), np.float32)


def guidance_embedding(guidance_scale: float, width: int) -> NDArray[np.float32]:
    """The guidance scale as latent consistency models are told it (Luo et al. 2023, arXiv:2310.04378, section 4.2).

    Args:
        guidance_scale: In diffusers' form, in which 1 is no guidance.
        width: Size of the embedding, even.

    Returns:
        Sines, then cosines, of falling frequencies.
    """
    half = width // 2
    frequencies = np.exp(np.arange(half) * (-math.log(10_000) / (half - 1)))
    angles = (guidance_scale - 1) * 1000 * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)]).astype(np.float32)


def _joined(hidden: Sequence[Hidden], unet: Unet) -> Hidden:
    """The hidden states that a UNet takes: all encoders' side by side, or, as the SDXL refiner does, the last one's."""
    together = np.concatenate(hidden, axis=1)
    return hidden[-1] if hidden[-1].shape[1] == unet.widths["encoder_hidden_states"] else together
