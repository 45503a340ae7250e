"""What the pipeline process and its host say to each other, over one connection.

The host sends `Settings` first, then `Assignment`, `Cancel` and `Stop`; the process sends `Word`.
"""

from dataclasses import dataclass

from farm.domain import Assignment, AttemptKey, ChipClass, ModelVariant
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
class Cancel:
    """The attempt is to end at its next step."""

    key: AttemptKey
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The process is to end, and to drop what it has."""


Order = Assignment | Cancel | Stop


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
