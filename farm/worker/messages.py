"""What the pipeline process and its host say to each other, over one connection.

The host sends `Settings` first, then each `Order` as it comes; the process sends `Word`.
"""

from dataclasses import dataclass

from farm.domain import Assignment, AttemptKey, AttemptState, ChipClass, ComputeUnit, ModelVariant, RenderSpec
from farm.reports import Report
from farm.runtime.base import Runtime
from farm.worker.deadlines import Deadlines


@dataclass(frozen=True, slots=True)
class Settings:
    """What a pipeline process must know to begin.

    Attributes:
        variants: The model variants that it may be asked to render with.
        runtime: What to render with; not yet used, so that it can be sent.
        pipeline: Where the pipeline's `load` is, as "module:function".
        deadlines: How long it may stay silent.
        chip: Brand string of the chip, for provenance.
        chip_class: What the chip favours, for provenance.
        version: Version of the farm, for provenance.
    """

    variants: tuple[ModelVariant, ...]
    runtime: Runtime
    pipeline: str
    deadlines: Deadlines
    chip: str
    chip_class: ChipClass
    version: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """An attempt is no longer wanted here; at once if it is not being rendered yet.

    Attributes:
        key: The attempt.
        state: What it ends as.
        reason: Why, in words.
        finish_image: Whether the image that is being rendered is finished; otherwise the next step is the last.
    """

    key: AttemptKey
    state: AttemptState
    reason: str
    finish_image: bool


def cancellation(key: AttemptKey, reason: str) -> Withdraw:
    """Ends an attempt at its next step."""
    return Withdraw(key, AttemptState.CANCELLED, reason, finish_image=False)


def release(key: AttemptKey, reason: str = "") -> Withdraw:
    """Gives an attempt back after the image that is being rendered; because that was asked for, if nothing is said."""
    because = reason or "the rest was given back, as was asked for"
    return Withdraw(key, AttemptState.ABANDONED, because, finish_image=True)


@dataclass(frozen=True, slots=True)
class Trial:
    """A variant is to be measured on a compute unit.

    Attributes:
        digest: Digest of the variant.
        compute_unit: Where to render.
        spec: What to render for it.
    """

    digest: str
    compute_unit: ComputeUnit
    spec: RenderSpec


@dataclass(frozen=True, slots=True)
class Calibrate:
    """Trials are to be run, in this order, and in place of those that were ordered before.

    Attributes:
        trials: The trials.
        first_seconds: For so long they come before assignments, and the device counts as in use.
        idle_seconds: After that they wait until nothing was assigned for so long, and give way at the next step.
    """

    trials: tuple[Trial, ...]
    first_seconds: float
    idle_seconds: float


@dataclass(frozen=True, slots=True)
class Offer:
    """Model variants that the process may be asked to render with from now on, in place of those before."""

    variants: tuple[ModelVariant, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """The process is to end, and to drop what it has."""


Order = Assignment | Withdraw | Calibrate | Offer | Stop


@dataclass(frozen=True, slots=True)
class Word:
    """A report, and a promise.

    Attributes:
        report: What happened.
        within: The process is heard of again within that many seconds as long as it has work, or it is hung. None: it
            waits for something that takes as long as it takes.
    """

    report: Report
    within: float | None
