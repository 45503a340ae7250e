"""Workers: what their machines are, and what they found out about their models."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from farm.domain.chips import ChipClass, ComputeUnit
from farm.domain.models import ModelOffer


class WorkerState(enum.Enum):
    """Life of a worker. Whether it is busy follows from its attempts."""

    ACTIVE = "ACTIVE"
    DRAINING = "DRAINING"
    SUSPENDED = "SUSPENDED"
    OFFLINE = "OFFLINE"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a machine found out about one model variant on one compute unit.

    Attributes:
        digest: Digest of the variant.
        compute_unit: Processors it ran on.
        seconds_per_step: One denoising step, warm: the median of several; 0 where it was not timed.
        fixed_seconds: What an image takes beside its steps: text encoder, VAE.
        load_seconds: Loading the variant once it is compiled; 0 where it was loaded but once or not at all.
        compile_seconds: By how much the first load took longer: Core ML compiles once a machine and macOS build. What
            is no load apart from it, while it was loaded but once.
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

    @property
    def first_load_seconds(self) -> float:
        """What the first load took on this machine, as far as that is known; 0 where it is not."""
        return self.load_seconds + self.compile_seconds

    @property
    def was_loaded(self) -> bool:
        """Whether the machine has loaded the variant for this unit, and so has compiled it."""
        return self.first_load_seconds > 0 or self.peak_memory_bytes > 0

    def followed_by(self, newer: "Measurement") -> "Measurement":
        """What is known after one more measurement of the same variant and unit.

        A trial stands in place of what was known, but for the first load, which cannot be measured again. What is told
        after a load or an image adds to it: the first load of all includes the compilation, and the second tells them
        apart.
        """
        if newer.failure:
            return newer
        load = newer.load_seconds if newer.is_trial or self.was_loaded else 0.0
        load = load or self.load_seconds
        first = self.first_load_seconds or newer.first_load_seconds
        return replace(
            newer if newer.is_trial else self,
            load_seconds=load,
            compile_seconds=max(newer.compile_seconds, first - load, 0.0),
            peak_memory_bytes=max(0 if newer.is_trial else self.peak_memory_bytes, newer.peak_memory_bytes),
        )


@dataclass(frozen=True, slots=True)
class Resident:
    """A model variant that is loaded for a compute unit; for another unit it would have to be loaded again.

    Attributes:
        model: Name of the model.
        digest: Digest of the variant.
        compute_unit: Processors that it was loaded for.
    """

    model: str
    digest: str
    compute_unit: ComputeUnit


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

    def measured(self, digest: str, unit: ComputeUnit) -> Measurement:
        """What it has measured of a variant on a compute unit; an empty measurement where that is nothing."""
        mine = (one for one in self.measurements if one.digest == digest and one.compute_unit is unit)
        return next(mine, Measurement(digest, unit))

    def with_measurement(self, measured: Measurement) -> "WorkerFacts":
        """These facts and one more measurement, taken together with what was known of the same variant and unit."""
        old = self.measured(measured.digest, measured.compute_unit)
        new = old.followed_by(measured)
        known = tuple(new if one is old else one for one in self.measurements)
        return replace(self, measurements=known if old in self.measurements else (*known, new))
