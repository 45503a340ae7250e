"""The packages of a pipeline behind plain functions of arrays, adapted by what each package says of itself.

Names, ranks, shapes and types are read from the packages. Known forms: text encoders with one or two outputs and
integer or float token ids; UNets of any fixed batch size, with hidden states of shape (B, C, 1, S) as Apple converts
them or (B, S, C) as others do, with or without SDXL's and latent consistency models' further conditions; VAE decoders
with one output; VAE encoders that give a mean, alone or with a variance. Anything else is a `PipelineError` that names
it.

Buffers that a model is fed from live as long as their component: Core ML may read an input a while after `predict`
has returned (coremltools#2827).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.diffusion.noise import Latents, RandomSource
from farm.errors import PipelineError
from farm.runtime.base import LoadedModel, TensorSpec

Hidden = NDArray[np.float32]
"""Hidden states of one prompt: (tokens, channels)."""

Condition = Mapping[str, NDArray[np.float32]]
"""What a UNet is told with one prompt, by input: hidden states (tokens, channels), all else (channels,)."""

_HIDDEN_STATES = ("last_hidden_state", "hidden_embeds")
_POOLED = "pooled_outputs"

_CONDITIONS = ("text_embeds", "time_ids", "timestep_cond")
"""Inputs that only some UNets have: SDXL's two, and that of latent consistency models."""

_LOG_VARIANCES = (-30.0, 20.0)
"""Bounds that autoencoders' logarithmic variances are brought into, in diffusers and in Core ML's Swift pipeline."""


class TextEncoder:
    """Turns the token ids of one prompt into hidden states."""

    def __init__(self, model: LoadedModel) -> None:
        (ids,) = _inputs(model, "text_encoder", ("input_ids",))
        self._model = model
        self._ids = _buffer(ids)
        self._output = _output(model, "text_encoder", _HIDDEN_STATES)
        self.length = self._ids.size

    def encode(self, ids: Sequence[int]) -> tuple[Hidden, NDArray[np.float32] | None]:
        """Encodes `length` token ids to hidden states, and to a pooled state (channels,) if the package gives one.

        Raises:
            PipelineError: The package gives something else than hidden states.
        """
        self._ids[...] = np.reshape(ids, self._ids.shape)
        outputs = self._model.predict({"input_ids": self._ids})
        hidden: NDArray[np.float32] = outputs[self._output].astype(np.float32)
        if hidden.ndim != 3 or hidden.shape[:2] != (1, self.length):
            raise PipelineError(
                f"The text_encoder gives {self._output} of shape {hidden.shape}, not (1, {self.length}, channels)."
                " Convert the model again with Apple's names and shapes.",
                component="text_encoder",
            )
        return hidden[0], outputs[_POOLED].astype(np.float32).ravel() if _POOLED in outputs else None


class Unet:
    """Predicts the noise (or what else it was trained for) of latents, once for each prompt that conditions it.

    Attributes:
        latent_shape: (1, channels, height, width).
        widths: Channels that it takes of each condition, by input; for time_ids, how many there are of them.
    """

    def __init__(self, model: LoadedModel) -> None:
        optional = [name for name in _CONDITIONS if name in model.inputs]
        sample, timestep, hidden, *others = _inputs(
            model, "unet", ("sample", "timestep", "encoder_hidden_states", *optional)
        )
        if len(sample.shape) != 4 or len(hidden.shape) not in (3, 4) or hidden.shape[0] != sample.shape[0]:
            raise PipelineError(
                f"The unet takes sample {sample.shape} and encoder_hidden_states {hidden.shape}. Known are (B, C, H, W)"
                " with (B, C, 1, S) or (B, S, C); convert the model again with Apple's names and shapes.",
                component="unet",
            )
        self._model = model
        self._batch = sample.shape[0]
        self._channels_first = len(hidden.shape) == 4
        self._output = _output(model, "unet", ("noise_pred",))
        self._sample, self._timestep = _buffer(sample), _buffer(timestep)
        # Two prompts at most: the negative one and the positive one.
        self._conditions = [
            {spec.name: _buffer(spec) for spec in (hidden, *others)} for _group in range(-(-2 // self._batch))
        ]
        self._rows = 0
        self.latent_shape = (1, *sample.shape[1:])
        self.widths = {spec.name: self._conditions[0][spec.name].size // self._batch for spec in others}
        self.widths[hidden.name] = hidden.shape[1] if self._channels_first else hidden.shape[2]

    @property
    def takes_guidance_scale(self) -> bool:
        """Whether it is told how strongly the prompt steers, so that nobody has to steer it."""
        return "timestep_cond" in self.widths

    def condition(self, prompts: Sequence[Condition]) -> None:
        """Sets the prompts, one or two, that the next predictions are made for.

        Raises:
            PipelineError: The UNet takes conditions of another shape.
        """
        for position in range(self._batch * len(self._conditions)):
            group, row = divmod(position, self._batch)
            # A row of the batch that no prompt needs is still computed; it repeats the last prompt.
            for name, told in prompts[min(position, len(prompts) - 1)].items():
                self._tell(self._conditions[group][name], row, name, told)
        self._rows = len(prompts)

    def _tell(self, buffer: NDArray[np.generic], row: int, name: str, told: NDArray[np.float32]) -> None:
        arranged = told.T[:, None, :] if told.ndim == 2 and self._channels_first else told
        # Apple's packages take the time_ids of all rows in one.
        place = buffer[row] if buffer.ndim > 1 else np.split(buffer, self._batch)[row]
        if arranged.shape != place.shape:
            raise PipelineError(
                f"The text encoders give {name} of {told.shape}, but the unet takes {place.shape} a prompt. They are"
                " parts of different models; check the model's folder.",
                component="unet",
            )
        place[...] = arranged

    def predict(self, latents: Latents, timestep: float) -> list[Latents]:
        """Runs the UNet at a training step.

        Args:
            latents: Latents of `latent_shape`, scaled as the UNet was trained.
            timestep: Training step; may be fractional.

        Returns:
            One prediction of `latent_shape` a prompt.

        Raises:
            PipelineError: The package gives something else than latents.
        """
        self._sample[...] = latents
        self._timestep[...] = timestep if self._timestep.dtype == np.float32 else round(timestep)
        predictions: list[Latents] = []
        for conditions in self._conditions[: -(-self._rows // self._batch)]:
            feeds: dict[str, NDArray[Any]] = {"sample": self._sample, "timestep": self._timestep, **conditions}
            output = self._model.predict(feeds)[self._output].astype(np.float32, copy=False)
            if output.shape != self._sample.shape:
                raise PipelineError(
                    f"The unet takes latents of {self._sample.shape} and gives {self._output} of {output.shape}. Models"
                    " that predict more than the noise are not known; convert another.",
                    component="unet",
                )
            predictions += [output[row : row + 1] for row in range(self._batch)]
        return predictions[: self._rows]


class VaeDecoder:
    """Turns latents into a picture.

    Attributes:
        latent_shape: (1, channels, height, width).
    """

    def __init__(self, model: LoadedModel) -> None:
        (latents,) = _inputs(model, "vae_decoder", ("z",))
        self._model = model
        self._latents = _buffer(latents)
        self._output = _output(model, "vae_decoder", ("image",))
        self.latent_shape = self._latents.shape

    def decode(self, latents: Latents) -> NDArray[np.float32]:
        """Decodes unscaled latents to (3, height, width), nominally from -1 to 1."""
        self._latents[...] = latents
        (image,) = self._model.predict({"z": self._latents})[self._output].astype(np.float32, copy=False)
        return np.asarray(image)


class VaeEncoder:
    """Turns a picture into latents.

    Attributes:
        picture_shape: (1, 3, height, width).
    """

    def __init__(self, model: LoadedModel) -> None:
        (picture,) = _inputs(model, "vae_encoder", ("x",))
        self._model = model
        self._picture = _buffer(picture)
        self._output = _output(model, "vae_encoder", ("latent",))
        self.picture_shape = self._picture.shape

    def encode(self, picture: NDArray[np.float32], latent_shape: tuple[int, ...], noise: RandomSource) -> Latents:
        """Encodes a picture from -1 to 1 to unscaled latents of `latent_shape`.

        Where the package gives a mean and a variance, latents are drawn from them, as diffusers does.

        Raises:
            PipelineError: The package gives something else than latents.
        """
        self._picture[...] = picture
        given: Latents = self._model.predict({"x": self._picture})[self._output].astype(np.float32, copy=False)
        if given.shape == latent_shape:
            return given
        if given.shape != (latent_shape[0], 2 * latent_shape[1], *latent_shape[2:]):
            raise PipelineError(
                f"The vae_encoder gives {self._output} of shape {given.shape}, which is neither latents {latent_shape}"
                " nor their mean and variance. It is a part of another model or size; check the model's folder.",
                component="vae_encoder",
            )
        mean, log_variance = np.split(given, 2, axis=1)
        spread = np.exp(np.float32(0.5) * np.clip(log_variance, *_LOG_VARIANCES))
        drawn: Latents = mean + spread * noise.normal(latent_shape)
        return drawn


def _inputs(model: LoadedModel, component: str, names: Sequence[str]) -> list[TensorSpec]:
    """The declared inputs of those names, which must be all that the package takes."""
    missing, unknown = set(names) - set(model.inputs), set(model.inputs) - set(names)
    if missing or unknown:
        raise PipelineError(
            f"The {component} package takes the inputs {_listed(model.inputs)}; this pipeline feeds {_listed(names)}."
            " It is a component of another kind of model (ControlNet, inpainting) or has other names than Apple's.",
            component=component,
        )
    return [model.inputs[name] for name in names]


def _output(model: LoadedModel, component: str, names: Sequence[str]) -> str:
    """The output of one of those names, or the only one there is."""
    known = [name for name in names if name in model.outputs] or list(model.outputs)
    if len(known) != 1:
        raise PipelineError(
            f"The {component} package gives {_listed(model.outputs)}, and none or several of them may be"
            f" {' or '.join(names)}. Convert the model again with Apple's names.",
            component=component,
        )
    return known[0]


def _buffer(spec: TensorSpec) -> NDArray[np.generic]:
    if not spec.shape or min(spec.shape) < 1:
        raise PipelineError(
            f"The input {spec.name} has no fixed shape ({spec.shape}). Convert the model again with fixed shapes.",
            input=spec.name,
        )
    return np.zeros(spec.shape, np.int32 if spec.dtype == "int32" else np.float32)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
