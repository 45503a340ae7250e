"""The farm's vocabulary: what every room means by a job, an image, a worker, a model.

Facts are frozen; a changed fact is a new object (`dataclasses.replace`). Nothing here does I/O or knows a library.
Words are explained in `docs/architecture.md`.
"""

from farm.domain.chips import (
    ANE_UP_TO_CORES,
    FAVOURED,
    GPU_FROM_CORES,
    PROPER_VARIANTS,
    AttentionVariant,
    ChipClass,
    ComputeUnit,
)
from farm.domain.images import (
    DEFAULT_STRENGTH,
    INIT_IMAGE_SIGNATURES,
    MAX_INIT_IMAGE_BYTES,
    MAX_STEPS,
    MAX_STEPS_OF,
    SAMPLERS,
    SEED_LIMIT,
    ImageSpec,
    ImageState,
    Provenance,
    RenderSpec,
    evaluation_count,
    resolve,
)
from farm.domain.jobs import (
    FINAL_STATES,
    Assignment,
    AttemptKey,
    AttemptState,
    JobSpec,
    JobState,
    Pin,
)
from farm.domain.models import (
    DiffusionConfig,
    Model,
    ModelOffer,
    ModelVariant,
)
from farm.domain.workers import (
    Measurement,
    Resident,
    WorkerFacts,
    WorkerState,
)

__all__ = [
    "ANE_UP_TO_CORES",
    "DEFAULT_STRENGTH",
    "FAVOURED",
    "FINAL_STATES",
    "GPU_FROM_CORES",
    "INIT_IMAGE_SIGNATURES",
    "MAX_INIT_IMAGE_BYTES",
    "MAX_STEPS",
    "MAX_STEPS_OF",
    "PROPER_VARIANTS",
    "SAMPLERS",
    "SEED_LIMIT",
    "Assignment",
    "AttemptKey",
    "AttemptState",
    "AttentionVariant",
    "ChipClass",
    "ComputeUnit",
    "DiffusionConfig",
    "ImageSpec",
    "ImageState",
    "JobSpec",
    "JobState",
    "Measurement",
    "Model",
    "ModelOffer",
    "ModelVariant",
    "Pin",
    "Provenance",
    "RenderSpec",
    "Resident",
    "WorkerFacts",
    "WorkerState",
    "evaluation_count",
    "resolve",
]
