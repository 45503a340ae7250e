"""How fast each chip renders each model, from `farm/assets/speeds.csv`: published figures, derived ones marked so."""

import csv
import functools
import importlib.resources
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from farm.domain import AttentionVariant, ChipClass, ComputeUnit, Measurement, ModelOffer, WorkerFacts
from farm.errors import ScenarioError

GIB = 2**30

FIXED_STEPS = 1.5
"""An image's fixed part in steps; what the table's images that were timed as a whole were divided by."""

VARIANTS: Mapping[ComputeUnit, AttentionVariant] = {
    ComputeUnit.CPU_AND_GPU: AttentionVariant.ORIGINAL,
    ComputeUnit.CPU_AND_NE: AttentionVariant.SPLIT_EINSUM,
}
"""The attention variant that each compute unit is given."""


@dataclass(frozen=True, slots=True)
class ModelCosts:
    """What the table does not say of a model; orders of magnitude from issue threads of Apple's repository.

    Attributes:
        size: Width and height in pixels.
        load_seconds: By compute unit, once compiled.
        compile_seconds: By compute unit; Apple's README: up to two minutes for the Neural Engine.
        peak_bytes: Memory in use at most.
    """

    size: int
    load_seconds: Mapping[ComputeUnit, float]
    compile_seconds: Mapping[ComputeUnit, float]
    peak_bytes: int


MODELS: Mapping[str, ModelCosts] = {
    "sd-1.5": ModelCosts(
        512,
        {ComputeUnit.CPU_AND_GPU: 6.0, ComputeUnit.CPU_AND_NE: 15.0},
        {ComputeUnit.CPU_AND_GPU: 10.0, ComputeUnit.CPU_AND_NE: 120.0},
        4 * GIB,
    ),
    "sdxl": ModelCosts(
        1024,
        {ComputeUnit.CPU_AND_GPU: 15.0, ComputeUnit.CPU_AND_NE: 40.0},
        {ComputeUnit.CPU_AND_GPU: 30.0, ComputeUnit.CPU_AND_NE: 300.0},
        12 * GIB,
    ),
}


@dataclass(frozen=True, slots=True)
class Speed:
    """One row of the table: seconds of a denoising step, with guidance; `kind` is "published" or "derived"."""

    chip: str
    gpu_cores: int
    model: str
    compute_unit: ComputeUnit
    seconds_per_step: float
    kind: str
    source: str

    def seconds(self, steps: int) -> float:
        """Seconds of an image."""
        return (steps + FIXED_STEPS) * self.seconds_per_step


Key = tuple[str, int, str, ComputeUnit]


@functools.cache
def speeds() -> Mapping[Key, Speed]:
    """The table, by chip, GPU cores, model and compute unit."""
    text = importlib.resources.files("farm").joinpath("assets/speeds.csv").read_text("utf-8")
    rows = [
        Speed(
            row["chip"],
            int(row["gpu_cores"]),
            row["model"],
            ComputeUnit(row["compute_unit"]),
            float(row["seconds_per_step"]),
            row["kind"],
            row["source"],
        )
        for row in csv.DictReader(text.splitlines())
    ]
    return {(row.chip, row.gpu_cores, row.model, row.compute_unit): row for row in rows}


def digest(model: str, unit: ComputeUnit) -> str:
    """Digest of the variant that a compute unit is given."""
    return f"sha256:{model}:{VARIANTS[unit].value}"


def chip_facts(
    chip: str,
    gpu_cores: int,
    memory_gb: int,
    models: Iterable[str],
    units: tuple[ComputeUnit, ...],
    labels: Mapping[str, str],
) -> WorkerFacts:
    """What a Mac with this chip would say of itself, without measurements.

    Raises:
        ScenarioError: The table has no such chip or model.
    """
    for model in models:
        for unit in units:
            if (chip, gpu_cores, model, unit) not in speeds():
                known = ", ".join(sorted({f"{key[0]} with {key[1]} GPU cores" for key in speeds()}))
                raise ScenarioError(
                    f"Nothing is known of {model} on {chip} with {gpu_cores} GPU cores. Known are {', '.join(MODELS)} "
                    f"on {known}."
                )
    return WorkerFacts(
        chip=chip,
        chip_class=ChipClass.favoured(gpu_cores),
        gpu_cores=gpu_cores,
        performance_cores=8,
        has_ane=True,
        memory_bytes=memory_gb * GIB,
        os="macOS 26",
        runtime="coreml",
        compute_units=units,
        offers=tuple(
            ModelOffer(model, VARIANTS[unit], digest(model, unit), MODELS[model].size, MODELS[model].size)
            for model in models
            for unit in units
        ),
        version="simulated",
        labels=labels,
    )


def measurement(speed: Speed, factor: float) -> Measurement:
    """What a Mac that is `factor` slower than the table would measure."""
    costs = MODELS[speed.model]
    step = speed.seconds_per_step * factor
    return Measurement(
        digest=digest(speed.model, speed.compute_unit),
        compute_unit=speed.compute_unit,
        seconds_per_step=step,
        fixed_seconds=FIXED_STEPS * step,
        load_seconds=costs.load_seconds[speed.compute_unit],
        compile_seconds=costs.compile_seconds[speed.compute_unit],
        peak_memory_bytes=costs.peak_bytes,
    )
