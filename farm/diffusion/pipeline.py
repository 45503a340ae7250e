"""The whole way of one image: tokenize, encode, denoise, decode."""

import functools
import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farm.diffusion.components import TextEncoder, Unet, VaeDecoder, VaeEncoder
from farm.diffusion.init_image import read_init_image
from farm.diffusion.loading import load_component
from farm.diffusion.noise import RANDOM_SOURCES, Latents, RandomSource
from farm.diffusion.prediction import Predict, denoiser, guide
from farm.diffusion.prompt_encoder import EncodedPrompt, PromptEncoder, condition
from farm.diffusion.samplers import SAMPLERS
from farm.diffusion.schedule import Schedule
from farm.diffusion.tokenizer import Tokenizer
from farm.domain import SEED_LIMIT, ComputeUnit, ModelVariant, RenderSpec
from farm.errors import ImageFailedError, PipelineError
from farm.reports import Stage
from farm.runtime.base import LoadedModel, Runtime

_TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
_LOADED_AT_ONCE = (*_TEXT_ENCODERS, "unet", "refiner", "vae_decoder")


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


class Pipeline:
    """One model variant, loaded; renders one image at a time.

    Args:
        variant: What is loaded.
        prompts: Its text encoders.
        unets: Its UNet, and its refiner if it has one.
        vae_decoder: Its decoder.
        load_vae_encoder: Loads its encoder, which only images that start from a picture need; None if it has none.
        on_stage: Called as each stage of a render begins.
    """

    def __init__(
        self,
        variant: ModelVariant,
        prompts: PromptEncoder,
        unets: tuple[Unet, Unet | None],
        vae_decoder: VaeDecoder,
        load_vae_encoder: Callable[[], VaeEncoder] | None,
        on_stage: Callable[[Stage], None],
    ) -> None:
        self._variant = variant
        self._prompts = prompts
        self._unet, self._refiner = unets
        self._vae_decoder = vae_decoder
        self._load_vae_encoder = load_vae_encoder
        self._vae_encoder: VaeEncoder | None = None
        self._on_stage = on_stage
        for name, part in {"vae_decoder": vae_decoder, "refiner": self._refiner}.items():
            if part is not None and part.latent_shape != self._unet.latent_shape:
                raise PipelineError(
                    f"The unet of {variant.model} makes latents of {self._unet.latent_shape}, its {name} takes"
                    f" {part.latent_shape}. They are parts of different models or sizes; check the model's folder.",
                    model=variant.model,
                )

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
                compile, else LOAD) and in `render` (ENCODE, DENOISE, DECODE; COMPILE or LOAD again before the first
                image that starts from a picture).

        Raises:
            PackageError: A package cannot be read or run.
            PipelineError: The packages do not make a pipeline.
        """
        missing = [name for name in ("unet", "vae_decoder") if not variant.parts_of(name)]
        if not any(variant.parts_of(name) for name in _TEXT_ENCODERS):
            missing.append(_TEXT_ENCODERS[0])
        if missing:
            raise PipelineError(
                f"The model {variant.model} has no {', '.join(missing)}, without which no image can be made."
                " Fetch or convert it again.",
                model=variant.model,
            )

        def load(component: str) -> LoadedModel:
            on_stage(Stage.COMPILE if runtime.compiles else Stage.LOAD)
            return load_component(variant, component, runtime, compute_unit)

        loaded = {component: load(component) for component in _LOADED_AT_ONCE if variant.parts_of(component)}
        on_stage(Stage.LOAD)
        pad_tokens = dict(zip(_TEXT_ENCODERS, (variant.config.pad_token, variant.config.pad_token_2), strict=True))
        encoders = {name: TextEncoder(loaded[name]) for name in _TEXT_ENCODERS if name in loaded}
        return cls(
            variant,
            PromptEncoder(
                [
                    (Tokenizer(variant.tokenizer, encoder.length, pad_tokens[name]), encoder)
                    for name, encoder in encoders.items()
                ]
            ),
            (Unet(loaded["unet"]), Unet(loaded["refiner"]) if "refiner" in loaded else None),
            VaeDecoder(loaded["vae_decoder"]),
            (lambda: VaeEncoder(load("vae_encoder"))) if variant.parts_of("vae_encoder") else None,
            on_stage,
        )

    def render(
        self, spec: RenderSpec, random_source: Callable[[int], RandomSource] | None = None
    ) -> Generator[Latents, None, Rendered]:
        """Renders one image.

        Args:
            spec: What to render.
            random_source: Makes the stream of noise for a seed; without it that of the model's config.

        Returns:
            A generator that yields the latents x0 + sigma·noise after each step and returns the finished image. Close
            it to give the image up.

        Raises:
            PipelineError: The model cannot render what `spec` asks for. Raised by the call itself.
            ImageFailedError: The result is not an image. Raised by the generator.
        """
        self._check(spec)
        schedule = SAMPLERS[spec.sampler].schedule(self._variant.config, spec.steps).last(spec.step_count)
        source = random_source or RANDOM_SOURCES[self._variant.config.noise]
        return self._steps(spec, schedule, source(spec.seed))

    def _steps(self, spec: RenderSpec, schedule: Schedule, noise: RandomSource) -> Generator[Latents, None, Rendered]:
        start = self._picture_latents(spec, noise)
        self._on_stage(Stage.ENCODE)
        guided = spec.guidance_scale > 1 and not self._unet.takes_guidance_scale
        prompts = {"negative prompt": spec.negative_prompt, "prompt": spec.prompt}
        encoded = {name: self._prompts.encode(text) for name, text in prompts.items() if guided or name == "prompt"}
        predict = self._predictor(spec, encoded)

        self._on_stage(Stage.DENOISE)
        if start is None:
            x = noise.normal(self._unet.latent_shape) * np.float32(schedule.noise_scale)
        else:
            x = start + noise.normal(self._unet.latent_shape) * np.float32(schedule.sigmas[0])
        denoise = denoiser(predict, schedule, self._variant.config.prediction_type)
        for latents in SAMPLERS[spec.sampler].solve(denoise, x, schedule.sigmas, noise):
            x = latents
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

    def _picture_latents(self, spec: RenderSpec, noise: RandomSource) -> Latents | None:
        """Latents of the picture to start from, in the UNet's scale; None if there is none."""
        if spec.init_image is None:
            return None
        if self._vae_encoder is None:
            assert self._load_vae_encoder is not None
            self._vae_encoder = self._load_vae_encoder()
        self._on_stage(Stage.ENCODE)
        _, _, height, width = self._vae_encoder.picture_shape
        picture = read_init_image(spec.init_image, width, height)
        latents = self._vae_encoder.encode(picture, self._unet.latent_shape, noise)
        return latents * np.float32(self._variant.config.scaling_factor)

    def _predictor(self, spec: RenderSpec, encoded: Mapping[str, EncodedPrompt]) -> Predict:
        """Tells the UNets the prompts, and gives a function that predicts with the one whose turn it is."""
        config = self._variant.config
        unguided = encoded
        if config.force_zeros_for_empty_prompt and not spec.negative_prompt and len(encoded) > 1:
            encoded = {**encoded, "negative prompt": encoded["negative prompt"].zeroed()}
        # The refiner was not trained with zeros.
        for unet, prompts in ((self._unet, encoded), (self._refiner, unguided)):
            if unet is not None:
                told = functools.partial(condition, unet, width=spec.width, height=spec.height)
                unet.condition(
                    [
                        told(prompt, is_negative=name != "prompt", guidance_scale=spec.guidance_scale)
                        for name, prompt in prompts.items()
                    ]
                )
        refined_below = round(config.train_steps * (1 - config.refiner_start))

        def predict(latents: Latents, timestep: float) -> Latents:
            unet = self._refiner if self._refiner is not None and timestep < refined_below else self._unet
            *unconditional, conditional = unet.predict(latents, timestep)
            return guide(unconditional[0], conditional, spec.guidance_scale) if unconditional else conditional

        return predict

    def _decode(self, latents: Latents) -> NDArray[np.uint8]:
        image = self._vae_decoder.decode(latents / np.float32(self._variant.config.scaling_factor))
        _check_finite(image, "the decoder")
        if image.shape != (3, self._variant.height, self._variant.width):
            raise ImageFailedError(
                f"The decoder of {self._variant.model} gave an image of shape {image.shape}, not the"
                f" {self._variant.width}x{self._variant.height} that its model declares. Correct the model's manifest."
            )
        return np.rint((image.clip(-1, 1) + 1) * np.float32(127.5)).astype(np.uint8).transpose(1, 2, 0)

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
            "it has no vae_encoder, which images that start from init_image need": (
                spec.init_image is not None and self._load_vae_encoder is None
            ),
            f"the strength is {spec.strength}, not above 0 and at most 1": (
                spec.strength is not None and not 0 < spec.strength <= 1
            ),
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


def _notes(encoded: Mapping[str, EncodedPrompt]) -> tuple[str, ...]:
    return tuple(
        f"The {name} is longer than the text encoder reads; this end of it was ignored: {prompt.ignored!r}"
        for name, prompt in encoded.items()
        if prompt.ignored
    )
