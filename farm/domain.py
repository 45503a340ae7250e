"""The farm's vocabulary: what every room means by a job, an image, a worker, a model.

Facts are frozen; a changed fact is a new object (`dataclasses.replace`). Nothing here does I/O or knows a library.
Words are explained in `docs/architecture.md`.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

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

DEFAULT_STRENGTH = 0.8
"""How far an image leaves its `init_image` where nobody says; diffusers' default."""

MAX_INIT_IMAGE_BYTES = 4 * 1024 * 1024
"""Of a picture to start from: enough for a PNG of 1024 x 1024 pixels. It travels with every image that uses it."""

INIT_IMAGE_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}
"""How the files begin that a picture to start from may be."""


class JobState(enum.Enum):
    """Life of a job."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether a job in this state has ended."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class AttemptState(enum.Enum):
    """Life of an attempt. Only FAILED costs images a retry; ABANDONED is the host's fault."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    ABANDONED = "ABANDONED"
    CANCELLED = "CANCELLED"


class ImageState(enum.Enum):
    """Life of an image."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class WorkerState(enum.Enum):
    """Life of a worker. Whether it is busy follows from its attempts."""

    ACTIVE = "ACTIVE"
    DRAINING = "DRAINING"
    SUSPENDED = "SUSPENDED"
    OFFLINE = "OFFLINE"


ANE_UP_TO_CORES = 14
"""Up to so many GPU cores, the Neural Engine was faster on every machine of which both were published,"""

GPU_FROM_CORES = 24
"""and from so many on, the GPU; docs/placement.md has the figures. Between the two, only measuring tells."""


class ChipClass(enum.Enum):
    """What a chip favours for image models."""

    ANE = "ANE"
    GPU = "GPU"
    CPU = "CPU"

    @classmethod
    def favoured(cls, gpu_cores: int, *, has_ane: bool = True) -> "ChipClass":
        """What an Apple chip favours before it was measured; between the bounds, the Neural Engine for its energy."""
        return cls.GPU if gpu_cores >= GPU_FROM_CORES or not has_ane else cls.ANE

    @staticmethod
    def is_between(gpu_cores: int) -> bool:
        """Whether only measuring tells what an Apple chip with so many GPU cores favours."""
        return ANE_UP_TO_CORES < gpu_cores < GPU_FROM_CORES


class ComputeUnit(enum.Enum):
    """Which processors Core ML may use, with the names of `coremltools.ComputeUnit`."""

    CPU_ONLY = "CPU_ONLY"
    CPU_AND_GPU = "CPU_AND_GPU"
    CPU_AND_NE = "CPU_AND_NE"
    ALL = "ALL"


class AttentionVariant(enum.Enum):
    """How a model's attention is written, with the names of Apple's converter."""

    ORIGINAL = "ORIGINAL"
    SPLIT_EINSUM = "SPLIT_EINSUM"
    SPLIT_EINSUM_V2 = "SPLIT_EINSUM_V2"


PROPER_VARIANTS: Mapping[ComputeUnit, tuple[AttentionVariant, ...]] = {
    ComputeUnit.CPU_ONLY: tuple(AttentionVariant),
    ComputeUnit.CPU_AND_GPU: tuple(AttentionVariant),
    ComputeUnit.CPU_AND_NE: (AttentionVariant.SPLIT_EINSUM, AttentionVariant.SPLIT_EINSUM_V2),
    ComputeUnit.ALL: tuple(AttentionVariant),
}
"""Attention variants that a compute unit may be given, the best first.

ORIGINAL is the quicker one on a GPU or CPU; it never goes to the Neural Engine, whose compiler was reported not to
finish (apple/ml-stable-diffusion#271)."""


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
class Pin:
    """Restricts where a job may run. What is None, or empty, does not restrict."""

    chip_class: ChipClass | None = None
    compute_unit: ComputeUnit | None = None
    attention: AttentionVariant | None = None
    runtime: str | None = None
    model_digest: str | None = None
    worker_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One submission as its submitter wrote it, without its entries.

    Attributes:
        model: Name of the model, without a prefix.
        display_name: A name for people.
        priority: Larger runs first, -100 to 100, 0 is ordinary.
        labels: The submitter's own key-value pairs.
        defaults: What entries that leave a field open take; its seed is always set once the job is accepted.
        pin: Restricts where the job may run.
        webhook: URL that is told when the job has ended; empty for none.
    """

    model: str
    display_name: str = ""
    priority: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    defaults: ImageSpec = ImageSpec()
    pin: Pin = Pin()
    webhook: str = ""


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


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a machine found out about one model variant on one compute unit.

    Attributes:
        digest: Digest of the variant.
        compute_unit: Processors it ran on.
        seconds_per_step: One denoising step, warm: the median of several; 0 where it was not timed.
        fixed_seconds: What an image takes beside its steps: text encoder, VAE.
        load_seconds: Loading the variant once it is compiled.
        compile_seconds: By how much the first load took longer: Core ML compiles once a machine and macOS build.
        peak_memory_bytes: Most memory that the process had in use; 0 where it was not measured.
        spread_seconds: Between the quartiles of the steps that were timed.
        failure: Why it cannot be rendered so on this machine, in words; empty where it can.
    """

    digest: str
    compute_unit: ComputeUnit
    seconds_per_step: float = 0.0
    fixed_seconds: float = 0.0
    load_seconds: float = 0.0
    compile_seconds: float = 0.0
    peak_memory_bytes: int = 0
    spread_seconds: float = 0.0
    failure: str = ""

    @property
    def is_trial(self) -> bool:
        """Whether it came of a trial, so that none is needed: it was timed, or failed."""
        return self.seconds_per_step > 0 or bool(self.failure)


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What a machine is and can do, as it says of itself when it joins.

    Attributes:
        chip: Brand string, for example "Apple M2 Pro".
        chip_class: What the chip favours.
        gpu_cores: GPU cores; 0 where there is no Apple GPU or it is not known.
        performance_cores: Cores of the fastest level.
        has_ane: Whether there is a Neural Engine that Core ML can use.
        memory_bytes: Physical memory.
        os: Operating system with version and build.
        runtime: Runtime it renders with, "coreml" or "portable".
        compute_units: Those its runtime can use, best first.
        offers: Model variants it has.
        labels: Labels that pins can ask for.
        version: Version of the farm's software.
        measurements: What it found out about its offers.
        metrics_address: Where it serves its metrics, "host:port"; empty if it does not.
    """

    chip: str
    chip_class: ChipClass
    gpu_cores: int
    performance_cores: int
    has_ane: bool
    memory_bytes: int
    os: str
    runtime: str
    compute_units: tuple[ComputeUnit, ...]
    offers: tuple[ModelOffer, ...]
    version: str
    labels: Mapping[str, str] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    metrics_address: str = ""

    def with_measurement(self, measured: Measurement) -> "WorkerFacts":
        """These facts and one more; it stands in place of an older one of the same variant and unit.

        A measurement of memory alone leaves the rest of the older one as it was.
        """
        place = (measured.digest, measured.compute_unit)
        old = next((one for one in self.measurements if (one.digest, one.compute_unit) == place), None)
        if old is not None and not measured.is_trial:
            measured = replace(old, peak_memory_bytes=max(old.peak_memory_bytes, measured.peak_memory_bytes))
        return replace(self, measurements=(*(one for one in self.measurements if one is not old), measured))


@dataclass(frozen=True, slots=True, order=True)
class AttemptKey:
    """Names an attempt, and fences it: numbers grow within a job, and only a live number's results count."""

    job_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker is told to render: the images of one attempt, and with what.

    Attributes:
        key: The attempt.
        model: Name of the model.
        model_digest: Digest of the model variant.
        compute_unit: Processors to use.
        images: Index and spec of each image, in order. Without any, the model is loaded and that is all.
    """

    key: AttemptKey
    model: str
    model_digest: str
    compute_unit: ComputeUnit
    images: tuple[tuple[int, RenderSpec], ...]


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
