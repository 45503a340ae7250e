"""What an image is to be, how far it is, and how it came to be."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from farm.domain.chips import AttentionVariant, ChipClass, ComputeUnit

SEED_LIMIT = 2**32
"""Seeds are 32-bit, as numpy's, Core ML's Swift pipeline's and AUTOMATIC1111's are."""

SAMPLERS: Mapping[str, str] = {
    "ddim": "DDIM",
    "euler": "Euler",
    "euler-karras": "Euler Karras",
    "euler-exponential": "Euler Exponential",
    "euler-ancestral": "Euler a",
    "heun": "Heun",
    "heun-karras": "Heun Karras",
    "heun-exponential": "Heun Exponential",
    "dpmpp-2m": "DPM++ 2M",
    "dpmpp-2m-karras": "DPM++ 2M Karras",
    "dpmpp-2m-exponential": "DPM++ 2M Exponential",
    "dpmpp-2m-sde": "DPM++ 2M SDE",
    "dpmpp-2m-sde-karras": "DPM++ 2M SDE Karras",
    "dpmpp-2m-sde-exponential": "DPM++ 2M SDE Exponential",
    "dpmpp-2s-ancestral": "DPM++ 2S a",
    "dpmpp-2s-ancestral-karras": "DPM++ 2S a Karras",
    "dpmpp-2s-ancestral-exponential": "DPM++ 2S a Exponential",
    "lms": "LMS",
    "lms-karras": "LMS Karras",
    "lms-exponential": "LMS Exponential",
    "pndm": "PLMS",
    "unipc": "UniPC",
    "unipc-karras": "UniPC Karras",
    "unipc-exponential": "UniPC Exponential",
    "lcm": "LCM",
    "tcd": "TCD",
}
"""Names of the diffusion solvers that a job can ask for, and what AUTOMATIC1111's interface calls each, as other tools
read it in PNG files and ask for it. `farm.diffusion.samplers` holds the solvers."""

MAX_STEPS = 999
"""Denoising steps at most: one less than the noise levels of training."""

MAX_STEPS_OF = {"lcm": 50, "tcd": 50}
"""Samplers that take fewer steps: consistency models were distilled for so many."""

TWICE_A_STEP = ("heun", "dpmpp-2s-ancestral")
"""Samplers that evaluate the UNet twice a step, but once in the last one, however their noise levels are spaced."""

DEFAULT_STRENGTH = 0.8
"""How far an image leaves its `init_image` where nobody says; diffusers' default."""

MAX_INIT_IMAGE_BYTES = 4 * 1024 * 1024
"""Of a picture to start from: enough for a PNG of 1024 x 1024 pixels. It travels with every image that uses it."""

INIT_IMAGE_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}
"""How the files begin that a picture to start from may be."""


class ImageState(enum.Enum):
    """Life of an image."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What one image should be, as far as somebody said so; None leaves a field to the job, then to the model.

    Attributes:
        prompt: What the image shows.
        negative_prompt: What it should not show.
        seed: Seed of the noise, 0 to 2^32 - 1.
        width: Width in pixels.
        height: Height in pixels.
        steps: Denoising steps, at least 1.
        guidance_scale: How strongly the prompt steers; at 1 or below there is no guidance.
        sampler: Name of the diffusion solver.
        strength: How far the image may leave `init_image`, above 0 and up to 1.
        init_image: PNG or JPEG bytes of the picture to start from.
    """

    prompt: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    sampler: str | None = None
    strength: float | None = None
    init_image: bytes | None = None

    def over(self, defaults: "ImageSpec") -> "ImageSpec":
        """This spec where it says something, `defaults` where it does not."""
        unset = {f.name: getattr(defaults, f.name) for f in fields(self) if getattr(self, f.name) is None}
        return replace(self, **unset)


@dataclass(frozen=True, slots=True)
class RenderSpec:
    """What one image is to be, with nothing left open; fields as in `ImageSpec`."""

    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    steps: int
    guidance_scale: float
    sampler: str
    strength: float | None = None
    init_image: bytes | None = None

    @property
    def step_count(self) -> int:
        """Steps that are done: of an image that starts from a picture, as many of the last ones as `strength` says."""
        return step_count(self.steps, self)


def step_count(steps: int, spec: ImageSpec | RenderSpec) -> int:
    """How many of `steps` are done for an image: all, or the last ones if `spec` starts from a picture."""
    if spec.init_image is None:
        return steps
    strength = DEFAULT_STRENGTH if spec.strength is None else spec.strength
    return max(1, min(steps, int(steps * strength)))


def evaluation_count(spec: ImageSpec | RenderSpec) -> int:
    """How often the UNet is evaluated for an image, which decides what it costs; no steps count as one."""
    steps, sampler = step_count(spec.steps or 1, spec), spec.sampler or ""
    if sampler == "pndm":
        return steps + (steps > 1)  # its second step evaluates at the first one's level again
    return 2 * steps - 1 if sampler.startswith(TWICE_A_STEP) else steps


def resolve(entry: ImageSpec, defaults: ImageSpec, index: int) -> RenderSpec:
    """Fills what `entry` leaves open from its job's defaults.

    The seed of an entry that names none is the job's plus `index`, modulo 2^32, so that a batch is reproducible from
    one number and no two images of it start from the same noise.

    Args:
        entry: What the batch says of this image.
        defaults: The job's defaults. Those of an accepted job hold a seed and, where the submitter said nothing, the
            model's own defaults as they were on that day.
        index: Position of the image in its job.

    Raises:
        ValueError: The two together leave a field open.
    """
    merged = entry.over(defaults)
    values: dict[str, Any] = {name: getattr(merged, name) for name in RenderSpec.__slots__}
    values["seed"] = entry.seed if entry.seed is not None else ((defaults.seed or 0) + index) % SEED_LIMIT
    values["negative_prompt"] = merged.negative_prompt or ""
    if merged.init_image is not None and merged.strength is None:
        values["strength"] = DEFAULT_STRENGTH
    missing = [name for name, value in values.items() if value is None and name not in ("strength", "init_image")]
    if missing:
        raise ValueError(f"image {index} has no {', '.join(missing)}")
    return RenderSpec(**values)


@dataclass(frozen=True, slots=True)
class Provenance:
    """How an image came to be, beyond its spec: all that decides its pixels, and who made it.

    Attributes:
        model: Name of the model.
        model_digest: Digest of the model variant.
        attention: How the model's attention is written.
        runtime: "coreml" or "portable".
        compute_unit: Processors it ran on.
        chip: Brand string of the chip.
        chip_class: What the chip favours.
        versions: Version of each library that can change pixels, and of the farm.
    """

    model: str
    model_digest: str
    attention: AttentionVariant
    runtime: str
    compute_unit: ComputeUnit
    chip: str
    chip_class: ChipClass
    versions: Mapping[str, str]
