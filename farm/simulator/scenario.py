"""What is simulated: a fleet, a workload and faults, each a TOML file."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from farm.domain import ComputeUnit
from farm.errors import ScenarioError
from farm.simulator.speeds import MODELS

T = TypeVar("T")

Count = Annotated[int, Meta(ge=1, le=10**9)]
Many = Annotated[int, Meta(ge=1, le=100_000)]
"""Macs, or jobs: each takes a kilobyte or more."""

Seconds = Annotated[float, Meta(ge=0.0, le=1e8)]
"""Three years; whatever may be left out of a run is left out before that."""

Deviation = Annotated[float, Meta(ge=0.0, le=10.0)]
Slowness = Annotated[float, Meta(gt=0.0, le=1e6)]
Part = Annotated[float, Meta(ge=0.0, le=1.0)]

MAX_OCCASIONS = 1_000_000
"""How often one fault may be repeated; each time is kept in memory."""

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
    gpu_cores: Count
    count: Many = 1
    memory_gb: Count = 16
    models: tuple[str, ...] = ("sd-1.5", "sdxl")
    join_at: Seconds = 0.0
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet, and how it varies.

    Attributes:
        mac: The Macs.
        spread: Relative standard deviation of the speeds of Macs that are alike.
        noise: Relative standard deviation of images on one Mac.
        is_calibrated: Whether each Mac has measured both compute units before it joins.
        is_compiled: Whether models were compiled before, as they are where Macs have calibrated; if not, the first load
            of each includes it.
        resident_models: Models that a Mac keeps loaded.
    """

    mac: Annotated[tuple[Macs, ...], Meta(min_length=1)]
    spread: Deviation = 0.03
    noise: Deviation = 0.03
    is_calibrated: bool = True
    is_compiled: bool = True
    resident_models: Count = 1


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
    images: Count
    submitter: str = "somebody"
    count: Many = 1
    at: Seconds = 0.0
    every: Seconds = 0.0
    is_random: bool = False
    steps: Count = 25
    priority: int = 0
    worker_labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Workload:
    """Jobs."""

    job: Annotated[tuple[Jobs, ...], Meta(min_length=1)]


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
    at: Seconds = 0.0
    seconds: Seconds = 0.0
    factor: Slowness = 1.0
    every: Seconds = 0.0
    until: Seconds = 1e6


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults, and how often an image fails by its own fault."""

    fault: tuple[Fault, ...] = ()
    image_failure: Part = 0.0


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
    kind = _NAMES[form]
    try:
        read = tomllib.loads(text)
        if unknown := list(_unknown(read, form)):
            other = next((f"; it looks like a {_FILES[key]}" for key in unknown if key in _FILES), "")
            raise ScenarioError(
                f"{name} has fields that a {kind} has not: {', '.join(unknown)}{other}. "
                "See examples/fleets/ for samples."
            )
        scenario = msgspec.convert(read, form)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ScenarioError(f"{name} is not a {kind}: {error}. See examples/fleets/ for samples.") from error
    if wrong := list(_WRONG[form](scenario)):
        raise ScenarioError(f"{name} cannot be simulated: {'; '.join(wrong)}.")
    return scenario


_NAMES: Mapping[type, str] = {Fleet: "fleet", Workload: "workload", Faults: "file of faults"}
"""What each form is called."""

_FILES: Mapping[str, str] = {"mac": _NAMES[Fleet], "job": _NAMES[Workload], "fault": _NAMES[Faults]}
"""What has a table of that name."""

_ROWS: Mapping[str, type] = {"mac": Macs, "job": Jobs, "fault": Fault}
"""What the rows of each table are."""


def _unknown(read: Mapping[str, Any], form: Any) -> Iterator[str]:
    """Where fields are that the form has not."""
    for key, value in read.items():
        if key not in form.__dataclass_fields__:
            yield key
        elif key in _ROWS and isinstance(value, list):
            for number, row in enumerate(value):
                if isinstance(row, dict):
                    yield from (f"{key}[{number}].{inner}" for inner in _unknown(row, _ROWS[key]))


def _wrong_fleet(fleet: Fleet) -> Iterator[str]:
    # Which chips are known is looked up where their speeds are.
    if fleet.is_calibrated and not fleet.is_compiled:
        yield "`is_compiled = false` needs `is_calibrated = false`, as a Mac that has measured a model has compiled it"


def _wrong_jobs(workload: Workload) -> Iterator[str]:
    for number, jobs in enumerate(workload.job):
        if jobs.model not in MODELS:
            yield f'job[{number}].model is "{jobs.model}", of which nothing is known; known are {", ".join(MODELS)}'


def _wrong_faults(faults: Faults) -> Iterator[str]:
    for number, fault in enumerate(faults.fault):
        if fault.kind == "slow" and fault.factor == 1.0:
            yield f"fault[{number}] slows nothing down; let `factor` say how much longer images take, such as 2.5"
        if fault.every and (fault.until - fault.at) / fault.every > MAX_OCCASIONS:
            yield (
                f"fault[{number}] is repeated more than {MAX_OCCASIONS:,} times between `at` and `until`; let `every` "
                "be more seconds, or `until` fewer"
            )


_WRONG: Mapping[type, Callable[[Any], Iterator[str]]] = {
    Fleet: _wrong_fleet,
    Workload: _wrong_jobs,
    Faults: _wrong_faults,
}
"""What no field's own type can tell to be wrong, by what the file is."""
