"""Parts that the worker's tests are built from."""

import queue
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from farm.domain import (
    Assignment,
    AttemptKey,
    AttemptState,
    AttentionVariant,
    ComputeUnit,
    DiffusionConfig,
    ImageSpec,
    Model,
    ModelVariant,
    RenderSpec,
)
from farm.reports import AttemptReport, ImageReport, Report, StepReport
from farm.runtime.base import LoadedModel
from farm.worker.deadlines import Deadlines
from farm.worker.pipeline_host import PipelineHost
from tests.waiting import PATIENCE

ReportType = TypeVar("ReportType", bound=Report)


class NoRuntime:
    """A runtime for pipelines that use none."""

    name = "portable"
    compiles = False
    compute_units = (ComputeUnit.CPU_ONLY,)
    versions: Mapping[str, str] = {"somelib": "1.2"}

    def load(self, package: Path, compute_unit: ComputeUnit, function: str | None = None) -> LoadedModel:
        raise NotImplementedError


def variant(digest: str = "sha256:1", model: str = "scripted") -> ModelVariant:
    return ModelVariant(
        model=model,
        attention=AttentionVariant.ORIGINAL,
        digest=digest,
        width=8,
        height=8,
        precision="float16",
        size_bytes=0,
        components={},
        tokenizer=Path(),
        config=DiffusionConfig(),
    )


def model(*variants: ModelVariant) -> Model:
    forms = variants or (variant(),)
    return Model(forms[0].model, "", "", forms, ImageSpec())


def spec(script: str = "", seed: int = 1, size: int = 8, steps: int = 4) -> RenderSpec:
    return RenderSpec(script, "", seed, size, size, steps, 1.0, "euler")


def assignment(number: int, *scripts: str, digest: str = "sha256:1", size: int = 8, steps: int = 4) -> Assignment:
    """An attempt at one image for each script, with indices from 10 times the attempt's number on."""
    images = tuple((number * 10 + i, spec(script, i, size, steps)) for i, script in enumerate(scripts or ("",)))
    return Assignment(AttemptKey("job", number), "scripted", digest, ComputeUnit.CPU_ONLY, images)


class Reports:
    """Collects what a renderer reports; each report is looked at once, in order."""

    def __init__(self) -> None:
        self._arriving: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self.seen: list[Report] = []
        self.arrived: dict[int, float] = {}

    def __call__(self, report: Report) -> None:
        self.arrived[id(report)] = time.monotonic()
        self._arriving.put(report)

    def next(self, kind: type[ReportType]) -> ReportType:
        """Waits for the next report of a kind."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                report = self._arriving.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {kind.__name__} came; there were {self.seen}") from None
            self.seen.append(report)
            if isinstance(report, kind):
                return report

    def end_of(self, number: int) -> AttemptReport:
        """Waits for an attempt to end."""
        while True:
            end = self.next(AttemptReport)
            if end.key.number == number:
                return end

    def step_of(self, number: int) -> StepReport:
        """Waits for the next step of an attempt."""
        while True:
            step = self.next(StepReport)
            if step.key.number == number:
                return step

    def images_of(self, number: int) -> list[ImageReport]:
        """The images of an attempt that were seen so far."""
        return [report for report in self.seen if isinstance(report, ImageReport) and report.key.number == number]


@contextmanager
def scripted_host(
    *,
    pipeline: str = "scripted",
    deadlines: Deadlines | None = None,
    models: tuple[Model, ...] = (),
    report: Callable[[Report], None] | None = None,
) -> Iterator[tuple[PipelineHost, Reports]]:
    """A running host whose child has one of the pipelines of `tests.worker.pipelines`."""
    host = PipelineHost(
        models or (model(),), NoRuntime(), deadlines=deadlines, pipeline=f"tests.worker.pipelines:{pipeline}"
    )
    reports = Reports()
    host.start(report or reports)
    try:
        yield host, reports
    finally:
        host.stop()


def assert_renders(host: PipelineHost, reports: Reports, number: int) -> None:
    host.render(assignment(number))
    end = reports.end_of(number)
    assert end.state is AttemptState.SUCCEEDED, end
    assert len(reports.images_of(number)) == 1
