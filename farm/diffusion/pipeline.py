"""The whole way of one image: tokenize, encode, denoise, decode."""

import functools
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farm.diffusion.components import Hidden, TextEncoder, Unet, VaeDecoder
from farm.diffusion.loading import load_component
from farm.diffusion.noise import Latents, NumpyRandomSource, RandomSource
from farm.diffusion.prediction import denoiser, guide
from farm.diffusion.samplers import SAMPLERS
from farm.diffusion.schedule import Schedule
from farm.diffusion.tokenizer import Tokenizer
from farm.domain import SEED_LIMIT, ComputeUnit, ModelVariant, RenderSpec
from farm.errors import ImageFailedError, PipelineError
from farm.reports import Stage
from farm.runtime.base import Runtime

_REMEMBERED_PROMPTS = 64


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished image.

    Attributes:
        pixels: uint8, (height, width, 3).
        latents: What the pixels were decoded from: float32, (1, channels, height, width), in the UNet's scale.
        notes: What the submitter should know.
    """

    pixels: NDArray[np.uint8]
    latents: Latents
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A prompt as the UNet reads it, and what of it was left out."""

    hidden: Hidden
    ignored: str


class Pipeline:
    """One model variant, loaded; renders one image at a time."""

    def __init__(
        self,
        variant: ModelVariant,
        tokenizer: Tokenizer,
        text_encoder: TextEncoder,
        unet: Unet,
        vae_decoder: VaeDecoder,
        on_stage: Callable[[Stage], None],
    ) -> None:
        if unet.latent_shape != vae_decoder.latent_shape:
            raise PipelineError(
                f"The unet of {variant.model} makes latents of {unet.latent_shape}, its vae_decoder takes"
                f" {vae_decoder.latent_shape}. They are parts of different models or sizes; check the model's folder.",
                model=variant.model,
            )
        self._variant = variant
        self._tokenizer = tokenizer
        self._text_encoder = text_encoder
        self._unet = unet
        self._vae_decoder = vae_decoder
        self._on_stage = on_stage
        # A batch repeats its negative prompt in every image, and often its prompt.
        self._encode = functools.lru_cache(_REMEMBERED_PROMPTS)(self._encode_anew)

    @classmethod
    def load(
        cls,
        variant: ModelVariant,
        runtime: Runtime,
        compute_unit: ComputeUnit,
        on_stage: Callable[[Stage], None] = lambda _: None,
    ) -> "Pipeline":
        """Loads the packages of a variant.

        Args:
            variant: What to load.
            runtime: What to load it with.
            compute_unit: Processors to use.
            on_stage: Called as each stage begins, here (COMPILE before each package that the runtime may have to
                compile, else LOAD) and in `render` (ENCODE, DENOISE, DECODE).

        Raises:
            PackageError: A package cannot be read or run.
            PipelineError: The packages do not make a pipeline.
        """
        missing = [name for name in ("text_encoder", "unet", "vae_decoder") if not variant.parts_of(name)]
        if missing:
            raise PipelineError(
                f"The model {variant.model} has no {', '.join(missing)}, without which no image can be made."
                " Fetch or convert it again.",
                model=variant.model,
            )
        loaded = {}
        for component in ("text_encoder", "unet", "vae_decoder"):
            on_stage(Stage.COMPILE if runtime.compiles else Stage.LOAD)
            loaded[component] = load_component(variant, component, runtime, compute_unit)
        on_stage(Stage.LOAD)
        text_encoder = TextEncoder(loaded["text_encoder"])
        tokenizer = Tokenizer(variant.tokenizer, text_encoder.length, variant.config.pad_token)
        return cls(variant, tokenizer, text_encoder, Unet(loaded["unet"]), VaeDecoder(loaded["vae_decoder"]), on_stage)

    def render(
        self, spec: RenderSpec, random_source: Callable[[int], RandomSource] = NumpyRandomSource
    ) -> Generator[Latents, None, Rendered]:
        """Renders one image.

        Args:
            spec: What to render.
            random_source: Makes the stream of noise for a seed.

        Returns:
            A generator that yields the latents x0 + sigma·noise after each step and returns the finished image. Close
            it to give the image up.

        Raises:
            PipelineError: The model cannot render what `spec` asks for. Raised by the call itself.
            ImageFailedError: The result is not an image. Raised by the generator.
        """
        self._check(spec)
        schedule = SAMPLERS[spec.sampler].schedule(self._variant.config, spec.steps)
        return self._steps(spec, schedule, random_source(spec.seed))

    def _steps(self, spec: RenderSpec, schedule: Schedule, noise: RandomSource) -> Generator[Latents, None, Rendered]:
        self._on_stage(Stage.ENCODE)
        guided = spec.guidance_scale > 1
        prompts = {"negative prompt": spec.negative_prompt, "prompt": spec.prompt}
        encoded = {name: self._encode(text) for name, text in prompts.items() if guided or name == "prompt"}
        self._unet.condition([prompt.hidden for prompt in encoded.values()])

        self._on_stage(Stage.DENOISE)

        def predict(latents: Latents, timestep: float) -> Latents:
            *unconditional, conditional = self._unet.predict(latents, timestep)
            return guide(unconditional[0], conditional, spec.guidance_scale) if guided else conditional

        start = noise.normal(self._unet.latent_shape) * np.float32(schedule.noise_scale)
        denoise = denoiser(predict, schedule, self._variant.config.prediction_type)
        for x in SAMPLERS[spec.sampler].solve(denoise, start, schedule.sigmas, noise):
            yield x

        self._on_stage(Stage.DECODE)
        latents = x / np.float32(math.hypot(schedule.sigmas[-1], 1.0))
        _check_finite(latents, "the unet")
        if latents.std() == 0:
            raise ImageFailedError(
                "All latents came out the same, which makes an empty image. The packages or the processor they ran on"
                " are at fault; another compute unit may do better."
            )
        return Rendered(self._decode(latents), latents, _notes(encoded))

    def _decode(self, latents: Latents) -> NDArray[np.uint8]:
        image = self._vae_decoder.decode(latents / np.float32(self._variant.config.scaling_factor))
        _check_finite(image, "the decoder")
        if image.shape != (3, self._variant.height, self._variant.width):
            raise ImageFailedError(
                f"The decoder of {self._variant.model} gave an image of shape {image.shape}, not the"
                f" {self._variant.width}x{self._variant.height} that its model declares. Mend the model's manifest."
            )
        return np.rint((image.clip(-1, 1) + 1) * np.float32(127.5)).astype(np.uint8).transpose(1, 2, 0)

    def _encode_anew(self, prompt: str) -> _Encoded:
        tokens = self._tokenizer(prompt)
        return _Encoded(self._text_encoder.encode(tokens.ids), tokens.ignored)

    def _check(self, spec: RenderSpec) -> None:
        """Refuses what this pipeline cannot render."""
        size = f"{self._variant.width}x{self._variant.height}"
        most = self._variant.config.train_steps - 1
        complaints = {
            f"the sampler {spec.sampler!r} is not known (known: {', '.join(SAMPLERS)})": spec.sampler not in SAMPLERS,
            f"{spec.steps} steps cannot be done (1 to {most} can)": not 1 <= spec.steps <= most,
            f"the guidance scale is {spec.guidance_scale}, not a number to multiply with": not math.isfinite(
                spec.guidance_scale
            ),
            f"{spec.width}x{spec.height} is not the size that its package was converted for ({size})": (
                (spec.width, spec.height) != (self._variant.width, self._variant.height)
            ),
            f"the seed {spec.seed} is not from 0 to {SEED_LIMIT - 1}": not 0 <= spec.seed < SEED_LIMIT,
            "image-to-image is not possible with it (leave out init_image)": spec.init_image is not None,
        }
        wrong = [complaint for complaint, holds in complaints.items() if holds]
        if wrong:
            raise PipelineError(f"{self._variant.model} cannot render this image: {'; '.join(wrong)}.")


def _check_finite(values: NDArray[np.float32], where: str) -> None:
    if not np.isfinite(values).all():
        raise ImageFailedError(
            f"Numbers that are not finite came out of {where}. An overflow in half precision is the usual cause;"
            " another compute unit or attention variant may do better."
        )


def _notes(encoded: dict[str, _Encoded]) -> tuple[str, ...]:
    return tuple(
        f"The {name} is longer than the text encoder reads; this end of it was ignored: {prompt.ignored!r}"
        for name, prompt in encoded.items()
        if prompt.ignored
    )
