"""The renderer of this machine: one pipeline process, kept alive, watched and replaced."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

from farm.domain import Assignment, AttemptKey, Model, ModelVariant, WorkerFacts
from farm.reports import FactsReport, MeasurementReport, Report
from farm.runtime.base import Runtime
from farm.worker import calibration
from farm.worker.deadlines import Deadlines
from farm.worker.facts import model_offers, worker_facts
from farm.worker.measurements import MeasurementFile, circumstances
from farm.worker.messages import Calibrate, Offer, Settings, Stop, cancellation, release
from farm.worker.probe import Machine, probe
from farm.worker.supervisor import Inbox, Supervisor

PIPELINE = "farm.diffusion.pipeline:Pipeline.load"


class PipelineHost:
    """Renders on this machine's device, in a child process.

    A child that crashes, is killed or is silent beyond its deadline is replaced, and its attempts end as ABANDONED.
    No method waits for the child but `stop`; all may be called from any thread.

    Args:
        models: What can be rendered with, until `offer` says otherwise.
        runtime: What to render with. This process only asks it what it is, and sends it to the child (by pickle).
        labels: Labels that pins can ask for.
        measurements: File of what this machine has measured; what is missing in it is measured. Nothing is without one.
        ask_machine: Says what machine this is.
        deadlines: When the child counts as hung.
        pipeline: "module:function" that makes the pipeline in the child, with the parameters of `Pipeline.load`.
            Another than the farm's is only for tests of what goes wrong.
    """

    def __init__(
        self,
        models: Sequence[Model],
        runtime: Runtime,
        *,
        labels: Mapping[str, str] | None = None,
        measurements: Path | None = None,
        ask_machine: Callable[[], Machine] = probe,
        deadlines: Deadlines | None = None,
        pipeline: str = PIPELINE,
    ) -> None:
        self._models = tuple(models)
        self._runtime = runtime
        self._labels = dict(labels or {})
        self._measurements = measurements
        self._ask_machine = ask_machine
        self._machine: Machine | None = None
        self._file: MeasurementFile | None = None
        self._deadlines = deadlines or Deadlines()
        self._pipeline = pipeline
        self._facts: WorkerFacts | None = None
        self._changing = threading.Lock()  # of facts and file, which a trial and new models may change at once
        self._report: Callable[[Report], None] = lambda _: None
        self._inbox: Inbox = SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def facts(self) -> WorkerFacts:
        """What this machine is and can do, and what was measured of that so far. Known once started."""
        assert self._facts is not None, "facts are known once the renderer is started"
        return self._facts

    def start(self, report: Callable[[Report], None]) -> None:
        """Probes the machine, which takes a second or two on a Mac, and starts the child.

        Args:
            report: Called with each report, on a thread of the host's own; only a `FactsReport` comes on that of
                `offer`. Must not call `stop`.
        """
        with self._changing:
            self._report = report
            self._machine = self._ask_machine()
            facts = self._take_stock(self._machine)
        supervisor = Supervisor(self._settings(facts), lambda told: report(self._noted(told)), self._inbox)
        self._thread = threading.Thread(target=supervisor.run, name="pipeline-host", daemon=True)
        self._thread.start()

    def offer(self, models: Sequence[Model]) -> None:
        """Renders with these models from now on, and measures what is new of them; may be called before `start`."""
        with self._changing:
            self._models = tuple(models)
            if self._machine is None:
                return
            self._inbox.put(Offer(_variants(self._models)))
            if model_offers(self._models, self._runtime.name) == self.facts.offers:
                return
            facts = self._take_stock(self._machine)
        self._report(FactsReport(facts))

    def _take_stock(self, machine: Machine) -> WorkerFacts:
        """Finds out what the machine can do with its models, and has measured what is not known of that."""
        runtime = self._runtime
        facts = worker_facts(machine, self._models, runtime.name, runtime.compute_units, self._labels)
        if self._measurements is not None:
            self._file = MeasurementFile(self._measurements, circumstances(machine, runtime.name), self._models)
            facts = replace(facts, measurements=self._file.known())
            self.calibrate(calibration.missing(machine, self._models, facts))
        self._facts = facts
        return facts

    def calibrate(self, what: Calibrate) -> None:
        """Has trials run; a `MeasurementReport` tells what came of each. They take the place of earlier ones."""
        self._inbox.put(what)

    def _noted(self, report: Report) -> Report:
        """Takes what was measured to the facts and to the file."""
        if isinstance(report, MeasurementReport):
            with self._changing:
                self._facts = self.facts.with_measurement(report.measurement)
                if self._file is not None:
                    self._file.keep(self._facts.measurements)
        return report

    def render(self, assignment: Assignment) -> None:
        """Renders the assignment after those that came before it; reports tell the rest."""
        self._inbox.put(assignment)

    def cancel(self, key: AttemptKey, reason: str = "") -> None:
        """Ends an attempt at its next step. One that has ended already, or never was, is no error."""
        self._inbox.put(cancellation(key, reason))

    def release(self, key: AttemptKey, reason: str = "") -> None:
        """Gives an attempt back: finishes the image that is being rendered, and ends it as ABANDONED."""
        self._inbox.put(release(key, reason))

    def stop(self) -> None:
        """Ends the child, within about two seconds, and drops what is outstanding. No report comes after that."""
        if self._thread is not None:
            self._inbox.put(Stop())
            self._thread.join()

    def _settings(self, facts: WorkerFacts) -> Settings:
        return Settings(
            variants=_variants(self._models),
            runtime=self._runtime,
            pipeline=self._pipeline,
            deadlines=self._deadlines,
            chip=facts.chip,
            chip_class=facts.chip_class,
            version=facts.version,
        )


def _variants(models: Sequence[Model]) -> tuple[ModelVariant, ...]:
    """The variants of models, in a form that can be sent to a process."""
    variants = (variant for model in models for variant in model.variants)
    return tuple(replace(variant, components=dict(variant.components)) for variant in variants)
