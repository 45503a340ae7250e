"""What a renderer tells of its work: the messages that travel from it to the coordinator.

They are facts as the renderer saw them. Whether a result still counts is decided by the coordinator alone, by the
attempt's number.
"""

import enum
from dataclasses import dataclass

from farm.domain import AttemptKey, AttemptState, ComputeUnit, Measurement, Provenance, Resident, WorkerFacts


class Stage(enum.Enum):
    """What a pipeline process is doing; each stage has its own deadline."""

    COMPILE = "compile"
    LOAD = "load"
    ENCODE = "encode"
    DENOISE = "denoise"
    DECODE = "decode"
    SAVE = "save"


@dataclass(frozen=True, slots=True)
class StageReport:
    """A stage has begun.

    Attributes:
        key: The attempt it serves.
        stage: The stage.
        index: The image it serves; None while the model is compiled or loaded.
    """

    key: AttemptKey
    stage: Stage
    index: int | None = None


@dataclass(frozen=True, slots=True)
class StepReport:
    """A denoising step is done; `step` counts from 1 to `step_count`."""

    key: AttemptKey
    index: int
    step: int
    step_count: int


@dataclass(frozen=True, slots=True)
class ImageReport:
    """An image is finished.

    Attributes:
        key: The attempt.
        index: The image.
        png: The file's bytes, provenance included.
        provenance: How it came to be.
        render_seconds: From the start of the image to its decoded pixels.
        denoise_seconds: The part of that which its steps took; 0 where that is not told.
        notes: What the submitter should know.
        evaluations: How often the UNet was evaluated for it; 0 where that is not told.
    """

    key: AttemptKey
    index: int
    png: bytes
    provenance: Provenance
    render_seconds: float
    notes: tuple[str, ...] = ()
    evaluations: int = 0
    denoise_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ImageFailureReport:
    """An image could not be rendered, and the fault is its own (a host's fault abandons the attempt instead).

    Attributes:
        key: The attempt.
        index: The image.
        reason: One word in capitals, for programs.
        message: What happened and what to do, for people.
    """

    key: AttemptKey
    index: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """An attempt has ended on its worker; nothing more comes of it.

    Attributes:
        key: The attempt.
        state: SUCCEEDED (each image was reported, finished or failed), ABANDONED or CANCELLED.
        reason: Why, in words; empty for SUCCEEDED.
        index: The image that was being rendered when the renderer died, if one was.
    """

    key: AttemptKey
    state: AttemptState
    reason: str = ""
    index: int | None = None


@dataclass(frozen=True, slots=True)
class ResidencyReport:
    """These variants are loaded now."""

    residents: tuple[Resident, ...]


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """The device can be used (`reason` is empty), or it cannot and `reason` says why in words."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class TrialReport:
    """A trial, which measures a variant on a compute unit while nothing waits to be rendered, got so far.

    Attributes:
        digest: Digest of the variant.
        compute_unit: Where it runs.
        stage: What has begun.
        step: Steps that are done, of `step_count`.
        step_count: Steps of the trial.
    """

    digest: str
    compute_unit: ComputeUnit
    stage: Stage
    step: int = 0
    step_count: int = 0


@dataclass(frozen=True, slots=True)
class MeasurementReport:
    """Something was found out about a variant: by a trial, or of its load and memory by rendering with it."""

    measurement: Measurement


@dataclass(frozen=True, slots=True)
class FactsReport:
    """What the machine can do has changed since it joined: models came or went."""

    facts: WorkerFacts


Report = (
    StageReport
    | StepReport
    | ImageReport
    | ImageFailureReport
    | AttemptReport
    | ResidencyReport
    | DeviceReport
    | TrialReport
    | MeasurementReport
    | FactsReport
)
