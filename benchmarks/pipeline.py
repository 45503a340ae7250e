"""What the pipeline costs beside its models: wall time of a warm image less the sum of its `predict` calls.

Warm means that the prompts were seen before, as in a batch most are. PNG files are not counted: a worker encodes them
while the next image is rendered.
"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.parity import SPEC, bundled_variant
from benchmarks.report import report
from farm.diffusion.pipeline import Pipeline
from farm.domain import ComputeUnit, RenderSpec
from farm.runtime.base import Array, LoadedModel, Runtime, TensorSpec
from farm.runtime.portable import PortableRuntime

OVERHEAD_GOAL = 0.05
REPEATS = 15


@dataclass(slots=True)
class Clock:
    """Sums up time spent in `predict`."""

    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TimedRuntime:
    """A runtime whose models add the time of each `predict` to a clock."""

    runtime: Runtime
    clock: Clock

    @property
    def name(self) -> str:
        """The timed runtime's."""
        return self.runtime.name

    @property
    def compiles(self) -> bool:
        """The timed runtime's."""
        return self.runtime.compiles

    @property
    def compute_units(self) -> tuple[ComputeUnit, ...]:
        """The timed runtime's."""
        return self.runtime.compute_units

    @property
    def versions(self) -> Mapping[str, str]:
        """The timed runtime's."""
        return self.runtime.versions

    def load(self, package: Path, compute_unit: ComputeUnit, function: str | None = None) -> LoadedModel:
        """Loads a package with the timed runtime."""
        return _TimedModel(self.runtime.load(package, compute_unit, function), self.clock)


@dataclass(frozen=True, slots=True)
class _TimedModel:
    model: LoadedModel
    clock: Clock

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self.model.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return self.model.outputs

    def predict(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        start = time.perf_counter()
        results = self.model.predict(feeds)
        self.clock.seconds += time.perf_counter() - start
        return results


def measure_overheads(pipeline: Pipeline, clock: Clock, specs: list[RenderSpec]) -> list[float]:
    """Renders each spec; the part of its wall time that was not spent in `predict`."""
    overheads = []
    for spec in specs:
        clock.seconds = 0.0
        start = time.perf_counter()
        for _ in pipeline.render(spec):
            pass
        wall = time.perf_counter() - start
        overheads.append(1 - clock.seconds / wall)
    return overheads


def main() -> None:
    """Prints the pipeline's overhead with the bundled model."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as cache:
        variant = bundled_variant(Path(cache) / "digests.json")
    pipeline = Pipeline.load(variant, TimedRuntime(PortableRuntime(), clock), ComputeUnit.CPU_ONLY)
    specs = [dataclasses.replace(SPEC, seed=seed) for seed in range(REPEATS + 1)]
    _, *overheads = measure_overheads(pipeline, clock, specs)
    report("pipeline", f"overhead of a warm image of {SPEC.steps} steps", statistics.median(overheads),
           "share of wall time", OVERHEAD_GOAL, compared_with="the same image's predict calls",
           repeats=REPEATS, spread=max(overheads) - min(overheads))  # fmt: skip


if __name__ == "__main__":
    main()
