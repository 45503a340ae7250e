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
