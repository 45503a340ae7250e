"""What is simulated: a fleet, a workload and faults, each a TOML file."""

import tomllib
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import msgspec

from farm.domain import ComputeUnit
from farm.errors import ScenarioError

T = TypeVar("T")

POLICIES: dict[str, tuple[ComputeUnit, ...]] = {
    "best": (ComputeUnit.CPU_AND_NE, ComputeUnit.CPU_AND_GPU),
    "gpu": (ComputeUnit.CPU_AND_GPU,),
    "ane": (ComputeUnit.CPU_AND_NE,),
}
"""Compute units that the scheduler may choose from: all, or always the same one, to compare with."""


@dataclass(frozen=True, slots=True)
class Macs:
    """Macs that are alike.

    Attributes:
        chip: Brand string, as in the table of speeds.
        gpu_cores: GPU cores.
        count: How many.
        memory_gb: Memory in GiB.
        models: Models they have, of those in the table.
        join_at: Seconds after the start at which they join.
        labels: Labels that pins can ask for.
    """

    chip: str
    gpu_cores: int
    count: int = 1
    memory_gb: int = 16
    models: tuple[str, ...] = ("sd-1.5", "sdxl")
    join_at: float = 0.0
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet, and how it varies.

    Attributes:
        mac: The Macs.
        spread: Relative standard deviation of the speeds of Macs that are alike.
        noise: Relative standard deviation of images on one Mac.
        is_calibrated: Whether each Mac has measured both compute units before it joins.
        is_compiled: Whether models were compiled before; if not, the first load of each includes it.
        resident_models: Models that a Mac keeps loaded.
    """

    mac: tuple[Macs, ...]
    spread: float = 0.03
    noise: float = 0.03
    is_calibrated: bool = True
    is_compiled: bool = True
    resident_models: int = 1


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs that are alike.

    Attributes:
        model: Name of the model; it determines the size.
        images: Images a job.
        submitter: Who submits them; "{n}" stands for the number of the job among these.
        count: How many jobs.
        at: Seconds after the start at which the first is submitted.
        every: Mean seconds between two of them; exponentially distributed if `is_random`, else exactly so.
        is_random: Whether arrivals are a Poisson process, and sizes vary as an exponential distribution.
        steps: Denoising steps.
        priority: Priority.
        worker_labels: Labels that they are pinned to.
    """

    model: str
    images: int
    submitter: str = "somebody"
    count: int = 1
    at: float = 0.0
    every: float = 0.0
    is_random: bool = False
    steps: int = 25
    priority: int = 0
    worker_labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Workload:
    """Jobs."""

    job: tuple[Jobs, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong, once or again and again.

    Attributes:
        kind: "away": the Mac is silent, then joins again with nothing. "crash": its renderer dies, and its attempts
            come back. "slow": it takes `factor` as long, as when it is hot. "garbage": whatever it renders is refused.
        macs: Numbers of the Macs it happens to; empty for any.
        at: Seconds after the start; for a fault that is repeated, when it may begin.
        seconds: How long it lasts; 0 for ever (a crash takes no time).
        factor: How much longer images take, for "slow".
        every: Mean seconds between two of them over all its Macs (a Poisson process); 0 for once, on each of them.
        until: Seconds after the start at which repetition ends.
    """

    kind: Literal["away", "crash", "slow", "garbage"]
    macs: tuple[int, ...] = ()
    at: float = 0.0
    seconds: float = 0.0
    factor: float = 1.0
    every: float = 0.0
    until: float = 1e6


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults, and how often an image fails by its own fault."""

    fault: tuple[Fault, ...] = ()
    image_failure: float = 0.0


NO_FAULTS = Faults()


def parse(text: str, form: type[T], name: str) -> T:
    """Reads a TOML file as a Fleet, a Workload or Faults.

    Args:
        text: Its contents.
        form: Which of the three.
        name: Its name, for messages.

    Raises:
        ScenarioError: It is not TOML, or a field is wrong or unknown.
    """
    try:
        read = tomllib.loads(text)
        unknown = [key for key in read if key not in form.__dataclass_fields__]  # type: ignore[attr-defined]
        if unknown:
            raise ScenarioError(
                f"{name} has fields that a {form.__name__.lower()} has not: {', '.join(unknown)}. See examples/fleets/."
            )
        return msgspec.convert(read, form)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ScenarioError(
            f"{name} is not a {form.__name__.lower()}: {error}. See examples/fleets/ for samples."
        ) from error
