"""A worker's metrics: what they make of a renderer's reports, by a clock that the tests turn."""

from collections.abc import Callable, Sequence

import pytest

from farm.domain import Assignment, AttemptKey, AttemptState, ComputeUnit, Model, Resident, WorkerFacts
from farm.metrics import WORKER, Meters
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
from farm.worker.metering import MeteredRenderer
from farm.worker.null_renderer import NullRenderer
from tests.builders import PROVENANCE
from tests.expositions import Exposition
from tests.worker.builders import assignment, model

HOW = {"model": "scripted", "chip_class": "CPU", "compute_unit": "CPU_ONLY", "attention": "ORIGINAL"}
KEY = AttemptKey("job", 1)


class Puppet:
    """A renderer that says what it is made to say."""

    facts: WorkerFacts = NullRenderer([model()]).facts

    def start(self, report: Callable[[Report], None]) -> None:
        self.say = report

    def render(self, assignment: Assignment) -> None: ...

    def cancel(self, key: AttemptKey) -> None: ...

    def release(self, key: AttemptKey, reason: str = "") -> None: ...

    def offer(self, models: Sequence[Model]) -> None: ...

    def stop(self) -> None: ...


class Rig:
    """A metered puppet, and its clock and energy counter."""

    def __init__(self) -> None:
        self.time = 100.0
        self.joules = 1000.0
        self.puppet = Puppet()
        self.meters = Meters(WORKER)
        self.metered = MeteredRenderer(
            self.puppet, self.meters, lambda: "host:1", now=lambda: self.time, joules=lambda: self.joules
        )
        self.passed_on: list[Report] = []
        self.metered.start(self.passed_on.append)
        self.metered.render(assignment(1, "", ""))  # images 10 and 11

    def say(self, *reports: Report, after: float = 0.0) -> None:
        self.time += after
        for report in reports:
            self.puppet.say(report)

    def render(self, index: int) -> None:
        """An image of 10 s: 1 s of text, 8 s of two steps, 1 s of pixels; then half a second of saving. 70 J."""
        self.say(StageReport(KEY, Stage.ENCODE, index))
        self.say(StageReport(KEY, Stage.DENOISE, index), after=1)
        self.say(StepReport(KEY, index, 1, 2), after=3)
        self.say(StepReport(KEY, index, 2, 2), after=5)
        self.joules += 70
        self.say(StageReport(KEY, Stage.DECODE, index))
        self.say(StageReport(KEY, Stage.SAVE, index), after=1)
        self.say(ImageReport(KEY, index, b"", PROVENANCE, 10.0), after=0.5)

    def stage(self, stage: Stage) -> tuple[float, float]:
        """How often a stage was timed, and its seconds together."""
        told = self.told()
        name = "farm_worker_stage_seconds"
        how = {label: value for label, value in HOW.items() if label != "attention"}
        count, total = (told.value(f"{name}_{what}", stage=stage.value, **how) for what in ("count", "sum"))
        return count, total

    def told(self) -> Exposition:
        return Exposition(self.meters.exposition()[0].decode())


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_images_steps_and_their_stages_are_timed(rig: Rig) -> None:
    rig.render(10)
    told = rig.told()
    assert told.value("farm_worker_images_total", **HOW) == 1
    assert told.value("farm_worker_steps_total", **HOW) == 2
    assert told.value("farm_worker_step_seconds_sum", **HOW) == 8
    assert told.value("farm_worker_image_seconds_sum", **HOW) == 10
    assert [rig.stage(stage) for stage in (Stage.ENCODE, Stage.DENOISE, Stage.DECODE, Stage.SAVE)] == [
        (1, 1),
        (1, 8),
        (1, 1),
        (1, 0.5),
    ]


def test_loading_a_model_in_parts_is_one_load(rig: Rig) -> None:
    rig.say(StageReport(KEY, Stage.COMPILE))
    rig.say(StageReport(KEY, Stage.LOAD), after=20)
    rig.say(StageReport(KEY, Stage.LOAD), after=2)
    rig.say(ResidencyReport((Resident("scripted", "sha256:1", ComputeUnit.CPU_ONLY),)), after=3)
    rig.say(StageReport(KEY, Stage.ENCODE, 10), after=60)
    assert (rig.stage(Stage.COMPILE), rig.stage(Stage.LOAD)) == ((1, 20), (1, 5))


def test_the_gap_between_two_images_is_told_unless_a_model_was_loaded_in_it(rig: Rig) -> None:
    rig.render(10)
    rig.time += 1.5  # and half a second for saving
    rig.render(11)
    rig.say(StageReport(KEY, Stage.LOAD), after=50)
    rig.render(12)
    told = rig.told()
    assert told.value("farm_worker_idle_gap_seconds_count") == 1
    assert told.value("farm_worker_idle_gap_seconds_sum") == 2


def test_an_image_that_is_still_being_saved_when_the_next_begins_is_timed_as_well(rig: Rig) -> None:
    rig.say(StageReport(KEY, Stage.DECODE, 10))
    rig.say(StageReport(KEY, Stage.ENCODE, 11), StageReport(KEY, Stage.SAVE, 10), after=1)
    rig.say(ImageReport(KEY, 10, b"", PROVENANCE, 9.0), after=4)
    assert (rig.stage(Stage.DECODE), rig.stage(Stage.SAVE), rig.stage(Stage.ENCODE)) == ((1, 1), (1, 4), (0, 0))


def test_failures_are_counted_by_reasons_that_are_few(rig: Rig) -> None:
    rig.say(StageReport(KEY, Stage.DENOISE, 10), ImageFailureReport(KEY, 10, "IMAGE_FAILED", "NaN"))
    rig.say(StageReport(KEY, Stage.DENOISE, 11), ImageFailureReport(KEY, 11, "prompt 4711", "odd"))
    told = rig.told()
    assert told.value("farm_worker_image_failures_total", reason="IMAGE_FAILED", **HOW) == 1
    assert told.value("farm_worker_image_failures_total", reason="OTHER", **HOW) == 1


def test_how_long_a_stage_has_lasted_is_told_while_it_lasts_and_no_longer(rig: Rig) -> None:
    rig.say(StageReport(KEY, Stage.DENOISE, 10))
    rig.time += 40
    assert rig.told().value("farm_worker_stage_elapsed_seconds") == 40
    assert rig.told().value("farm_worker_attempts_held") == 1
    rig.say(AttemptReport(KEY, AttemptState.ABANDONED, "it hung"))
    told = rig.told()
    assert told.value("farm_worker_stage_elapsed_seconds") == 0
    assert told.value("farm_worker_attempts_held") == 0
    assert told.value("farm_worker_attempts_total", state="ABANDONED") == 1


def test_energy_is_told_for_all_and_for_an_image(rig: Rig) -> None:
    rig.render(10)
    rig.joules += 30
    told = rig.told()
    assert told.value("farm_worker_energy_joules_total") == 100
    assert told.value("farm_worker_image_energy_joules_sum", **HOW) == 70


def test_what_the_renderer_reports_is_passed_on_as_it_is_and_its_facts_say_where_the_metrics_are(rig: Rig) -> None:
    rig.render(10)
    assert len(rig.passed_on) == 7
    assert rig.metered.facts.metrics_address == "host:1"
    assert rig.told().value("farm_worker_info", chip="null renderer", chip_class="CPU") == 1


def test_what_changed_of_a_worker_says_where_its_metrics_are() -> None:
    rig = Rig()
    rig.say(FactsReport(Puppet.facts))
    assert rig.passed_on == [FactsReport(rig.metered.facts)]
    assert rig.metered.facts.metrics_address == "host:1"
