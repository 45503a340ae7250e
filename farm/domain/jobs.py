"""Jobs, and the attempts to render their images."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from farm.domain.chips import AttentionVariant, ChipClass, ComputeUnit
from farm.domain.images import ImageSpec, RenderSpec


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
        return self in FINAL_STATES


FINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class AttemptState(enum.Enum):
    """Life of an attempt. ABANDONED is the host's fault and costs no retry; images that fail do so one by one."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    ABANDONED = "ABANDONED"
    CANCELLED = "CANCELLED"


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
    defaults: ImageSpec = field(default_factory=ImageSpec)
    pin: Pin = field(default_factory=Pin)
    webhook: str = ""


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
