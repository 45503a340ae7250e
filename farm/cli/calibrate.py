"""`farm probe --calibrate`: times this machine's compute units, in the process that renders."""

import queue
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from farm.cli.output import console
from farm.domain import Measurement, Model
from farm.errors import DeviceBusyError, PipelineError
from farm.reports import DeviceReport, MeasurementReport, Report, TrialReport
from farm.runtime.base import Runtime
from farm.worker import calibration
from farm.worker.measurements import MeasurementFile, circumstances
from farm.worker.messages import Calibrate, Trial
from farm.worker.pipeline_host import PipelineHost
from farm.worker.probe import Machine

_FOREVER = 1e9


def calibrate(machine: Machine, models: list[Model], runtime: Runtime, path: Path) -> tuple[Measurement, ...]:
    """Measures each model anew on each unit that there is to choose from, and keeps what comes of each, as it comes.

    Args:
        machine: This machine.
        models: What to measure.
        runtime: What to render with.
        path: File of what this machine has measured.

    Raises:
        DeviceBusyError: Another process renders on this machine.
        PipelineError: There is nothing that could be measured.
    """
    host = PipelineHost(models, runtime, ask_machine=lambda: machine)
    told: queue.SimpleQueue[Report] = queue.SimpleQueue()
    host.start(told.put)
    try:
        wanted = tuple(calibration.trials(machine, models, host.facts.compute_units))
        if not wanted:
            raise PipelineError("No model here fits this machine; `farm models --local` lists those on its disk.")
        host.calibrate(Calibrate(wanted, first_seconds=_FOREVER, idle_seconds=0.0))
        file = MeasurementFile(path, circumstances(machine, runtime.name), models)
        facts = replace(host.facts, measurements=file.known())
        found = []
        for measured in _follow(told, wanted, models):
            found.append(measured)
            facts = facts.with_measurement(measured)
            file.keep(facts.measurements)
    finally:
        host.stop()
    return tuple(found)


def _follow(told: "queue.SimpleQueue[Report]", wanted: tuple[Trial, ...], models: list[Model]) -> Iterator[Measurement]:
    """Yields what comes of each trial, and shows on standard error how far it got."""
    names = {
        variant.digest: f"{model.name} {variant.attention.value}" for model in models for variant in model.variants
    }
    left = len(wanted)
    has_device = False
    with console(error=True).status("waiting for the device") as status:
        while left:
            match told.get():
                case DeviceReport(reason):
                    if reason and not has_device:
                        raise DeviceBusyError(
                            f"This machine cannot be measured now: {reason}. Stop that farm or worker, and try again."
                        )
                    has_device = True
                case TrialReport(digest, compute_unit, stage, step, step_count):
                    how_far = f"step {step} of {step_count}" if step else stage.value
                    place = f"{len(wanted) - left + 1} of {len(wanted)}"
                    status.update(f"{place}: {names[digest]} on {compute_unit.value}: {how_far}")
                case MeasurementReport(measured) if measured.is_trial:
                    left -= 1
                    yield measured
