"""Keeps one pipeline process alive: gives it its work, watches its deadlines, replaces it.

All of it runs on one thread. Whatever happens reaches it through one queue: what is asked of it, what the child says,
the child's end. It waits for that queue and its alarm and for nothing else.
"""

import logging
import queue
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from farm.child import Child
from farm.domain import Assignment, AttemptKey, AttemptState, ComputeUnit, Measurement
from farm.reports import (
    AttemptReport,
    DeviceReport,
    ImageFailureReport,
    ImageReport,
    MeasurementReport,
    Report,
    ResidencyReport,
    Stage,
    StageReport,
    TrialReport,
)
from farm.worker.messages import Calibrate, Offer, Order, Settings, Stop, Withdraw, Word

BACK_OFF_FIRST = 0.1
BACK_OFF_LIMIT = 30.0

_LAST_MOMENTS = 1.0
"""Seconds for a child that has closed its connection to end, so that its own exit code is seen."""

_log = logging.getLogger(__name__)


PipelineChild = Child[Settings | Order, Word]


@dataclass(frozen=True, slots=True)
class Heard:
    """The child said something."""

    child: PipelineChild
    word: Word


@dataclass(frozen=True, slots=True)
class Ended:
    """The child is gone."""

    child: PipelineChild


Inbox = queue.SimpleQueue[Order | Heard | Ended]

TRIAL_DEATHS = 2
"""A trial over which the child died so often has failed: Core ML was seen to abort its process on some chips."""


def back_off(deaths: int) -> float:
    """Seconds to wait before the next child, after so many deaths without an image: 0, 0.1, 0.2, 0.4 … 30."""
    return 0.0 if deaths < 2 else min(BACK_OFF_LIMIT, BACK_OFF_FIRST * 2.0 ** min(deaths - 2, 100))


class Supervisor:
    """Runs pipeline processes, one after the other as they die.

    Args:
        settings: What each process is told first.
        report: Called with each report.
        inbox: What happens. `Stop` ends `run`.
    """

    def __init__(self, settings: Settings, report: Callable[[Report], None], inbox: Inbox) -> None:
        self._settings = settings
        self._report = report
        self._inbox = inbox
        self._child: PipelineChild | None = None
        self._alarm: float | None = None  # the child's deadline; without a child, when the next one is started
        self._has_device = False
        self._deaths = 0  # since an image was finished or given up
        self._now_rendering: StageReport | None = None
        self._outstanding: dict[AttemptKey, Assignment] = {}
        self._calibrate = Calibrate((), 0.0, 0.0)
        self._first_until = 0.0  # from then on trials come after assignments, whichever child runs them
        self._trying: tuple[str, ComputeUnit] | None = None
        self._trial_deaths: Counter[tuple[str, ComputeUnit]] = Counter()

    def run(self) -> None:
        """Works until it is told to stop; then ends the child and drops what is outstanding."""
        self._start_child()
        try:
            while True:
                try:
                    message = self._inbox.get(timeout=self._seconds_to_alarm())
                except queue.Empty:
                    self._act_on_alarm()
                    continue
                if isinstance(message, Stop):
                    return
                self._take(message)
        finally:
            if self._child is not None:
                self._child.stop(Stop())

    def _seconds_to_alarm(self) -> float | None:
        return None if self._alarm is None else max(0.0, self._alarm - time.monotonic())

    def _set_alarm(self, seconds: float | None) -> None:
        self._alarm = None if seconds is None else time.monotonic() + seconds

    def _act_on_alarm(self) -> None:
        if self._child is None:
            self._start_child()
        else:
            self._child.end(patience=0)
            self._replace_child("was silent for too long and was ended")

    def _take(self, message: Assignment | Withdraw | Calibrate | Offer | Heard | Ended) -> None:
        match message:
            case Calibrate(first_seconds=seconds):
                self._calibrate = message
                self._first_until = time.monotonic() + seconds
                if self._child is not None:
                    self._child.send(message)
            case Offer(variants):
                self._settings = replace(self._settings, variants=variants)
                if self._child is not None:
                    self._child.send(message)
            case Assignment():
                self._outstanding[message.key] = message
                if self._child is not None:
                    self._child.send(message)
                    if self._has_device and self._alarm is None:
                        self._set_alarm(self._settings.deadlines.start)
            case Withdraw(key) if key in self._outstanding:
                if self._child is not None:
                    self._child.send(message)
                else:
                    del self._outstanding[key]
                    self._report(AttemptReport(key, message.state, message.reason))
            case Heard(child, word) if child is self._child:
                self._hear(word)
            case Ended(child) if child is self._child:
                self._replace_child(child.end(_LAST_MOMENTS))

    def _hear(self, word: Word) -> None:
        match word.report:
            case DeviceReport(reason):
                self._has_device = not reason
            case StageReport(stage=stage) if stage is not Stage.SAVE:  # saving overlaps the next image
                self._now_rendering = word.report
            case ImageReport(key, index) | ImageFailureReport(key, index):
                self._deaths = 0
                if self._now_rendering and (self._now_rendering.key, self._now_rendering.index) == (key, index):
                    self._now_rendering = None
            case AttemptReport(key):
                self._outstanding.pop(key, None)
            case TrialReport(digest, compute_unit):
                self._trying = (digest, compute_unit)
            case MeasurementReport(measured) if measured.is_trial:
                self._end_trial((measured.digest, measured.compute_unit))
        if isinstance(word.report, StageReport):
            self._trying = None  # the trial was put off
        is_idle = self._has_device and not self._outstanding and self._trying is None
        self._set_alarm(None if is_idle else word.within)
        self._report(word.report)

    def _start_child(self) -> None:
        try:
            self._child = child = PipelineChild(
                "farm.worker.pipeline_process",
                self._settings,
                on_word=lambda child, word: self._inbox.put(Heard(child, word)),
                on_end=lambda child: self._inbox.put(Ended(child)),
            )
        except OSError as error:
            self._replace_child(f"cannot be started ({error})")
            return
        _log.info("pipeline_process.started pid=%d", child.pid)
        self._set_alarm(self._settings.deadlines.start)
        if self._calibrate.trials:
            child.send(replace(self._calibrate, first_seconds=max(0.0, self._first_until - time.monotonic())))
        for assignment in self._outstanding.values():
            child.send(assignment)

    def _end_trial(self, trial: tuple[str, ComputeUnit]) -> None:
        left = tuple(other for other in self._calibrate.trials if (other.digest, other.compute_unit) != trial)
        self._calibrate = replace(self._calibrate, trials=left)
        self._trying = None

    def _blame_trial(self, reason: str) -> None:
        """Notes that the child died during a trial, if it did."""
        if (trial := self._trying) is None:
            return
        self._trying = None
        self._trial_deaths[trial] += 1
        if self._trial_deaths[trial] >= TRIAL_DEATHS:
            self._end_trial(trial)
            self._report(MeasurementReport(Measurement(*trial, failure=f"{reason}, {TRIAL_DEATHS} times")))

    def _replace_child(self, what_happened: str) -> None:
        """Abandons what the child had and sees to it that another is started, at once unless it keeps dying."""
        rendering, self._now_rendering = self._now_rendering, None
        reason = f"the pipeline process {what_happened}{_doing(rendering)}"
        _log.warning("pipeline_process.ended reason=%r attempts=%d", reason, len(self._outstanding))
        self._child = None
        self._has_device = False
        self._deaths += 1
        self._blame_trial(reason)
        seconds = back_off(self._deaths)
        self._set_alarm(seconds)

        outstanding, self._outstanding = self._outstanding, {}
        for key in outstanding:
            index = rendering.index if rendering is not None and rendering.key == key else None
            self._report(AttemptReport(key, AttemptState.ABANDONED, reason, index))
        self._report(ResidencyReport(()))
        if seconds:
            self._report(DeviceReport(f"{reason}; the next one is started in {seconds:.1f} s"))


def _doing(rendering: StageReport | None) -> str:
    if rendering is None:
        return ""
    image = "" if rendering.index is None else f" of image {rendering.index}"
    return f" during {rendering.stage.value}{image}"
