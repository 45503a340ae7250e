"""Counts what a renderer reports, and times its stages: the metrics of a worker.

It times by when reports arrive. They come from the renderer's own process as things happen, so that a renderer which
hangs in one call does not keep anybody from asking how long it has.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from farm import metrics
from farm.domain import Assignment, AttemptKey, Model, WorkerFacts
from farm.metrics import Meters, Rendering
from farm.renderer import Renderer
from farm.reports import (
    AttemptReport,
    FactsReport,
    ImageFailureReport,
    ImageReport,
    Report,
    ResidencyReport,
    Stage,
    StageReport,
    StepReport,
)
from farm.worker import sensors

Place = tuple[AttemptKey, int | None]
"""The image of an attempt, or its model."""


@dataclass(frozen=True, slots=True)
class _Running:
    """A stage that has begun.

    Attributes:
        report: Its begin.
        began: When, by the monotonic clock.
        joules: Energy used until its image began.
    """

    report: StageReport
    began: float
    joules: float = 0.0

    @property
    def place(self) -> Place:
        """Whom it serves."""
        return self.report.key, self.report.index


class MeteredRenderer:
    """A renderer whose work is counted; it does as the renderer in it does.

    Args:
        renderer: What renders.
        meters: Where it is counted, with the families of `metrics.WORKER`.
        metrics_address: Says where they are served, "host:port".
        now: The monotonic clock.
        joules: Tells the energy used so far, in joules, where the machine can.
    """

    def __init__(
        self,
        renderer: Renderer,
        meters: Meters,
        metrics_address: Callable[[], str] = lambda: "",
        *,
        now: Callable[[], float] = time.monotonic,
        joules: Callable[[], float] | None = None,
    ) -> None:
        self._renderer = renderer
        self._meters = meters
        self._metrics_address = metrics_address
        self._now = now
        self._joules = joules or sensors.energy_gauge()
        self._told_joules = self._joules() if self._joules else 0.0
        self._renderings: dict[AttemptKey, Rendering] = {}
        self._running: _Running | None = None
        self._saving: dict[tuple[AttemptKey, int], float] = {}
        self._heard = 0.0
        self._image_ended: float | None = None  # None: a model was loaded since, or there was no image yet

    @property
    def facts(self) -> WorkerFacts:
        """The renderer's, and where its metrics are."""
        return self._placed(self._renderer.facts)

    def _placed(self, facts: WorkerFacts) -> WorkerFacts:
        return replace(facts, metrics_address=self._metrics_address())

    def start(self, report: Callable[[Report], None]) -> None:
        """Starts the renderer."""

        def noted(told: Report) -> None:
            self._note(told)
            report(FactsReport(self._placed(told.facts)) if isinstance(told, FactsReport) else told)

        self._renderer.start(noted)
        facts = self._renderer.facts
        what = (facts.chip, facts.chip_class.value, facts.runtime, facts.os, facts.version)
        self._meters.set(metrics.WORKER_INFO, 1, *what)
        self._meters.before_each(self._measure)

    def render(self, assignment: Assignment) -> None:
        """Has it rendered."""
        facts = self._renderer.facts
        attentions = {offer.digest: offer.attention.value for offer in facts.offers}
        self._renderings[assignment.key] = (
            assignment.model,
            facts.chip_class.value,
            assignment.compute_unit.value,
            attentions.get(assignment.model_digest, "UNKNOWN"),
        )
        self._renderer.render(assignment)

    def cancel(self, key: AttemptKey) -> None:
        """Stops an attempt at its next step."""
        self._renderer.cancel(key)

    def release(self, key: AttemptKey, reason: str = "") -> None:
        """Gives an attempt back after the image that is being rendered."""
        self._renderer.release(key, reason)

    def offer(self, models: Sequence[Model]) -> None:
        """Has it render with other models."""
        self._renderer.offer(models)

    def stop(self) -> None:
        """Ends the renderer."""
        self._renderer.stop()

    def _measure(self) -> None:
        running = self._running
        self._meters.set(metrics.WORKER_STAGE_ELAPSED, self._now() - self._heard if running else 0.0)
        self._meters.set(metrics.WORKER_ASSIGNED, len(self._renderings))
        if (level := sensors.thermal_level()) is not None:
            self._meters.set(metrics.WORKER_THERMAL, level)
        if self._joules is not None:
            joules = self._joules()
            self._meters.count(metrics.WORKER_ENERGY, by=max(0.0, joules - self._told_joules))
            self._told_joules = joules

    def _note(self, report: Report) -> None:
        """Counts a report; called on the renderer's thread only."""
        now = self._now()
        match report:
            case StageReport(key, Stage.SAVE, index) if index is not None:
                if self._is_at(key, index):
                    self._end_image(now)
                self._saving[key, index] = now
            case StageReport():
                self._begin(report, now)
            case StepReport(key):
                self._count_step(key, now)
            case ResidencyReport(residents) if residents:
                self._end_stage(now)
            case ImageReport():
                self._count_image(report, now)
            case ImageFailureReport(key, index):
                self._saving.pop((key, index), None)
                if self._is_at(key, index):
                    self._end_stage(now)
                    self._image_ended = now
                if (how := self._renderings.get(key)) is not None:
                    self._meters.count(metrics.WORKER_FAILURES, *how, metrics.bounded(report.reason))
            case AttemptReport(key):
                if self._running is not None and self._running.report.key == key:
                    self._end_stage(now)
                self._renderings.pop(key, None)
                self._saving = {place: began for place, began in self._saving.items() if place[0] != key}
                self._meters.count(metrics.WORKER_ATTEMPTS, report.state.value)

    def _is_at(self, *place: AttemptKey | int | None) -> bool:
        return self._running is not None and self._running.place == place

    def _begin(self, report: StageReport, now: float) -> None:
        running = self._running
        if running is not None and running.report == report:
            return  # a stage may be told for each of a model's parts
        is_next = not self._is_at(report.key, report.index)
        if is_next and running is not None and running.report.index is not None:
            self._end_image(now)
        else:
            self._end_stage(now)
        joules = 0.0 if running is None else running.joules
        if report.index is None:
            self._image_ended = None
        elif is_next:
            if self._image_ended is not None:
                self._meters.record(metrics.WORKER_IDLE_GAP, now - self._image_ended)
            joules = self._joules() if self._joules else 0.0
        self._running = _Running(report, now, joules)
        self._heard = now

    def _count_step(self, key: AttemptKey, now: float) -> None:
        if (how := self._renderings.get(key)) is not None:
            self._meters.count(metrics.WORKER_STEPS, *how)
            self._meters.record(metrics.WORKER_STEP_SECONDS, now - self._heard, *how)
        self._heard = now

    def _end_stage(self, now: float) -> None:
        running, self._running = self._running, None
        if running is not None and (how := self._renderings.get(running.report.key)) is not None:
            stage = running.report.stage.value
            self._meters.record(metrics.WORKER_STAGE_SECONDS, now - running.began, stage, *how[:3])

    def _end_image(self, now: float) -> None:
        """The pixels of the image that is being rendered are there."""
        running = self._running
        self._end_stage(now)
        self._image_ended = now
        if running is None or (how := self._renderings.get(running.report.key)) is None:
            return
        if self._joules is not None:
            self._meters.record(metrics.WORKER_IMAGE_ENERGY, max(0.0, self._joules() - running.joules), *how)

    def _count_image(self, report: ImageReport, now: float) -> None:
        if self._is_at(report.key, report.index):
            self._end_image(now)  # a renderer that tells of no saving
        how = self._renderings.get(report.key)
        saving = self._saving.pop((report.key, report.index), None)
        if how is None:
            return
        if saving is not None:
            self._meters.record(metrics.WORKER_STAGE_SECONDS, now - saving, Stage.SAVE.value, *how[:3])
        self._meters.count(metrics.WORKER_IMAGES, *how)
        self._meters.record(metrics.WORKER_IMAGE_SECONDS, report.render_seconds, *how)
