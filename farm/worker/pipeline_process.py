"""The child that holds the models: it renders one image after another and tells its host what it does.

The main thread alone renders, and it listens to its host between steps: Core ML's bridge holds the GIL during a whole
`predict`, so another thread would not get to it sooner. For the same reason the main thread itself says which stage it
enters, before it enters it. Two threads stand by: one encodes and delivers finished images while the next is rendered;
one ends the process when its host is gone. Should the GIL never come back, the connection's watch ends it.
"""

import gc
import pkgutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection

from farm.child import connect_to_parent
from farm.diffusion.pipeline import Rendered
from farm.domain import (
    Assignment,
    AttemptKey,
    AttemptState,
    ComputeUnit,
    Measurement,
    ModelVariant,
    Provenance,
    RenderSpec,
    Resident,
)
from farm.reports import (
    AttemptReport,
    DeviceReport,
    MeasurementReport,
    ResidencyReport,
    Stage,
    StageReport,
    StepReport,
    TrialReport,
)
from farm.runtime.base import Runtime
from farm.worker import calibration
from farm.worker.calibration import Pipeline
from farm.worker.deadlines import StepTimes
from farm.worker.delivery import Delivery, Picture, failure
from farm.worker.device_lock import DeviceLock
from farm.worker.host_connection import HostConnection
from farm.worker.memory import Gauge
from farm.worker.messages import Calibrate, Offer, Order, Settings, Trial
from farm.worker.worklist import StoppedError, WithdrawnError, Worklist

_DEVICES = {"coreml": "apple-silicon", "portable": "cpu"}
"""Name of the device that each runtime uses."""

_LOCK_SECONDS = 0.25
"""Between two looks at a lock that another farm holds."""


_MORE = 1.05
"""By so much must the memory in use have grown to be told again."""

LoadPipeline = Callable[[ModelVariant, Runtime, ComputeUnit, Callable[[Stage], None]], Pipeline]


class _PutOffError(Exception):
    """The trial that is being run gives way to what is to be rendered."""


class PipelineProcess:
    """Takes the device, then renders what it is told to until it is told to stop.

    Args:
        connection: To the host.
        settings: What the host said first.
    """

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._variants = {variant.digest: variant for variant in settings.variants}
        self._load_pipeline: LoadPipeline = pkgutil.resolve_name(settings.pipeline)
        self._host = HostConnection(connection, settings.deadlines.grace)
        self._delivery = Delivery(self._host)

        self._worklist = Worklist(end=self._delivery.put)
        self._key = AttemptKey("", 0)
        self._index: int | None = None

        self._resident: tuple[ModelVariant, ComputeUnit, Pipeline] | None = None
        self._step_times = StepTimes()
        self._step_began = 0.0

        self._gauge = Gauge()
        self._told_memory = 0
        self._calibrate = Calibrate((), 0.0, 0.0)
        self._first_until = 0.0
        self._trial: Trial | None = None

    def run(self) -> None:
        """Works until it is told to stop."""
        with suppress(StoppedError):
            self._take_device()
            while True:
                self._listen()
                if self._is_trial_first:
                    self._run_first_trials()
                elif assignment := self._worklist.next():
                    self._attempt(assignment)
                else:
                    self._rest()

    def _rest(self) -> None:
        """Waits for something to do; after a while without, runs a trial."""
        self._host.rest(self._settings.deadlines.save)
        waiting = self._calibrate.trials
        if not waiting or self._connection.poll(self._calibrate.idle_seconds):
            self._take(self._connection.recv())
        else:
            self._try(waiting[0])

    def _take_device(self) -> None:
        lock = DeviceLock(_DEVICES[self._settings.runtime.name])
        told = None
        while reason := _why_not(lock):
            if reason != told:
                self._host.rest(None)
                self._host.tell(DeviceReport(reason))
                told = reason
            if self._connection.poll(_LOCK_SECONDS):
                self._listen()
        self._host.rest(self._settings.deadlines.start)
        self._host.tell(DeviceReport())

    def _listen(self) -> None:
        """Takes in all that the host has said so far."""
        while self._connection.poll():
            self._take(self._connection.recv())

    def _take(self, order: Order) -> None:
        if isinstance(order, Calibrate):
            self._calibrate = order
            self._first_until = time.monotonic() + order.first_seconds
        elif isinstance(order, Offer):
            self._variants = {variant.digest: variant for variant in order.variants}
        else:
            self._worklist.take(order)

    @property
    def _is_trial_first(self) -> bool:
        return bool(self._calibrate.trials) and time.monotonic() < self._first_until

    def _run_first_trials(self) -> None:
        self._host.tell(DeviceReport("measures which compute unit is faster before it renders"))
        while self._is_trial_first:
            self._try(self._calibrate.trials[0])
        self._host.tell(DeviceReport())

    def _try(self, trial: Trial) -> None:
        """Runs a trial; it remains to be run if it is put off."""
        self._trial = trial
        try:
            variant = self._variants[trial.digest]

            def load() -> Pipeline:
                return self._load(variant, trial.compute_unit)

            measured = calibration.measure(trial, load, self._gauge, self._after_trial_step)
        except _PutOffError:
            return
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - that a unit cannot run a variant is what a trial is to find out
            words = f"{type(error).__name__}: {error}"
            measured = Measurement(trial.digest, trial.compute_unit, failure=words)
        finally:
            self._trial = None
        self._calibrate = replace(
            self._calibrate, trials=tuple(other for other in self._calibrate.trials if other != trial)
        )
        self._host.tell(MeasurementReport(measured))

    def _after_trial_step(self, step: int) -> None:
        assert self._trial is not None, "steps of a trial are reported while one runs"
        self._promise(Stage.DENOISE)
        count = self._trial.spec.steps
        self._host.tell(TrialReport(self._trial.digest, self._trial.compute_unit, Stage.DENOISE, step, count))
        self._listen()
        if self._worklist.is_waiting and not self._is_trial_first:
            raise _PutOffError

    def _attempt(self, assignment: Assignment) -> None:
        self._key, self._index = assignment.key, None
        end = AttemptReport(assignment.key, AttemptState.SUCCEEDED)
        try:
            self._render_all(assignment)
        except WithdrawnError as withdrawn:
            end = withdrawn.end
        except _NotLoadedError as error:
            end = AttemptReport(assignment.key, AttemptState.ABANDONED, str(error))
        self._delivery.put(end)

    def _render_all(self, assignment: Assignment) -> None:
        variant = self._variants.get(assignment.model_digest)
        if variant is None:
            raise _NotLoadedError(f"{assignment.model} with the digest {assignment.model_digest} is not here any more")
        try:
            pipeline = self._pipeline(variant, assignment.compute_unit)
        except Exception as error:  # a model that does not load must not cost other models the process
            for index, _ in assignment.images:
                self._delivery.put(failure(assignment.key, index, error))
            if not assignment.images:
                raise _NotLoadedError(f"the model could not be loaded ({error})") from error
            return
        provenance = self._provenance(variant, assignment.compute_unit)
        for index, spec in assignment.images:
            self._listen()
            self._worklist.check(between_images=True)
            self._index = index
            began = time.monotonic()
            try:
                rendered, denoise_seconds = self._render(pipeline, index, spec)
            except (WithdrawnError, StoppedError):
                raise
            except Exception as error:  # noqa: BLE001 - one image that fails must not cost the others theirs
                self._delivery.put(failure(assignment.key, index, error))
            else:
                seconds = time.monotonic() - began
                self._delivery.put(Picture(assignment.key, index, spec, rendered, provenance, seconds, denoise_seconds))
                self._tell_memory(assignment)

    def _tell_memory(self, assignment: Assignment) -> None:
        used = self._gauge.look()
        if used > self._told_memory * _MORE:
            self._told_memory = used
            place = (assignment.model_digest, assignment.compute_unit)
            self._host.tell(MeasurementReport(Measurement(*place, peak_memory_bytes=used)))

    def _render(self, pipeline: Pipeline, index: int, spec: RenderSpec) -> tuple[Rendered, float]:
        """Renders an image; gives it, and the seconds that its steps took."""
        steps = pipeline.render(spec)
        step, denoise_seconds = 0, 0.0
        while True:
            try:
                next(steps)
            except StopIteration as finished:
                rendered: Rendered = finished.value
                return rendered, denoise_seconds
            step += 1
            now = time.monotonic()
            self._step_times.add(now - self._step_began)
            denoise_seconds += now - self._step_began
            self._step_began = now
            self._promise(Stage.DENOISE)
            self._host.tell(StepReport(self._key, index, step, spec.step_count))
            self._listen()
            self._worklist.check(between_images=False)

    def _pipeline(self, variant: ModelVariant, compute_unit: ComputeUnit) -> Pipeline:
        """The pipeline of a variant on a unit, loaded in place of the last one unless it is that one."""
        match self._resident:
            case (resident, unit, pipeline) if (resident, unit) == (variant, compute_unit):
                return pipeline
        began = time.monotonic()
        pipeline = self._load(variant, compute_unit)
        took = time.monotonic() - began
        self._host.tell(MeasurementReport(Measurement(variant.digest, compute_unit, load_seconds=took)))
        return pipeline

    def _load(self, variant: ModelVariant, compute_unit: ComputeUnit) -> Pipeline:
        # One pipeline at a time fits every machine that fits the model; the old one goes before the new one comes.
        self._resident = None
        gc.collect()
        self._gauge.restart()
        self._told_memory = 0
        self._host.tell(ResidencyReport(()))
        self._step_times = StepTimes()
        pipeline = self._load_pipeline(variant, self._settings.runtime, compute_unit, self._enter)
        self._resident = (variant, compute_unit, pipeline)
        self._host.tell(ResidencyReport((Resident(variant.model, variant.digest, compute_unit),)))
        return pipeline

    def _enter(self, stage: Stage) -> None:
        """Called by the pipeline as it enters a stage."""
        self._step_began = time.monotonic()
        self._promise(stage)
        if self._trial is not None:
            self._host.tell(TrialReport(self._trial.digest, self._trial.compute_unit, stage))
        else:
            self._host.tell(StageReport(self._key, stage, self._index))

    def _promise(self, stage: Stage) -> None:
        self._host.promise(self._settings.deadlines.of_stage(stage, self._step_times.expected))

    def _provenance(self, variant: ModelVariant, compute_unit: ComputeUnit) -> Provenance:
        return Provenance(
            model=variant.model,
            model_digest=variant.digest,
            attention=variant.attention,
            runtime=self._settings.runtime.name,
            compute_unit=compute_unit,
            chip=self._settings.chip,
            chip_class=self._settings.chip_class,
            versions={**self._settings.runtime.versions, "farm": self._settings.version},
        )


class _NotLoadedError(Exception):
    """The model is not here any more; or it was to be loaded ahead, without an image that could say so, and was not."""


def _why_not(lock: DeviceLock) -> str:
    """Tries to take the lock; says in words why it could not, nothing if it could."""
    try:
        if lock.try_acquire():
            return ""
    except FileNotFoundError:
        return f"the folder {lock.path.parent} of the device's lock is not there; make it, or set FARM_LOCKS to another"
    except OSError as error:
        return (
            f"the device's lock {lock.path} cannot be used ({error.strerror}); delete the file to have a new one made"
        )
    holder = lock.holder()
    if holder is None:
        return "another farm uses this device"
    return f"another farm, process {holder.pid}, uses this device since {holder.since:%Y-%m-%d %H:%M} UTC"


def main() -> None:
    """Entry point; the only argument is the number of the file descriptor of the connection to the host."""
    connection = connect_to_parent()
    with suppress(EOFError, ConnectionError):  # the host is gone
        PipelineProcess(connection, connection.recv()).run()


if __name__ == "__main__":
    main()
