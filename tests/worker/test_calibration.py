"""Trials, with real children; the last test with the bundled model on a Mac that is simulated but for its pixels."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from farm.catalogue.catalogue import BUNDLED, Catalogue
from farm.diffusion.pipeline import Rendered
from farm.domain import (
    AttemptState,
    AttentionVariant,
    ComputeUnit,
    Measurement,
    Model,
    RenderSpec,
    WorkerFacts,
)
from farm.reports import DeviceReport, MeasurementReport, TrialReport
from farm.runtime.portable import PortableRuntime
from farm.worker.calibration import FIRST_SECONDS, measure, missing, trials
from farm.worker.facts import worker_facts
from farm.worker.memory import Gauge
from farm.worker.messages import Calibrate, Trial
from farm.worker.null_renderer import NULL_MACHINE
from farm.worker.pipeline_host import PipelineHost
from farm.worker.probe import Machine
from farm.worker.probe.machine import read_mac
from tests.worker.builders import NoRuntime, Reports, assignment, model, scripted_host, spec, variant
from tests.worker.pipelines import ACTIONS, ScriptedPipeline
from tests.worker.probe.printers import Mac

ANE, GPU, CPU = ComputeUnit.CPU_AND_NE, ComputeUnit.CPU_AND_GPU, ComputeUnit.CPU_ONLY
UNITS = (ANE, GPU, ComputeUnit.ALL, CPU)
SPLIT = replace(variant("sha256:split"), attention=AttentionVariant.SPLIT_EINSUM)
BOTH = model(variant(), SPLIT)


class TwoUnits(PortableRuntime):
    """Says that it has what a Mac has, so that what is chosen between is chosen between here."""

    compute_units = (ANE, GPU)  # type: ignore[assignment]  # the portable runtime has one


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_LOCKS", str(tmp_path / "locks"))
    (tmp_path / "locks").mkdir()


def mac(gpu_cores: int) -> Machine:
    return read_mac(Mac("Apple M2 Pro", gpu_cores).outputs())


def facts(machine: Machine, *models: Model) -> WorkerFacts:
    return worker_facts(machine, models, "coreml", UNITS, {})


def planned(machine: Machine, *models: Model) -> set[tuple[str, ComputeUnit]]:
    return {(trial.digest, trial.compute_unit) for trial in trials(machine, models, facts(machine).compute_units)}


def test_each_unit_is_tried_with_the_variant_that_suits_it() -> None:
    assert planned(mac(8), BOTH) == {("sha256:split", ANE), ("sha256:1", GPU)}
    assert planned(mac(8), model()) == {("sha256:1", GPU)}
    assert planned(mac(8), model(SPLIT)) == {("sha256:split", ANE), ("sha256:split", GPU)}


@pytest.mark.parametrize(("gpu_cores", "order"), [(8, [ANE, GPU]), (19, [ANE, GPU]), (30, [GPU, ANE])])
def test_the_unit_that_the_chip_favours_is_tried_first(gpu_cores: int, order: list[ComputeUnit]) -> None:
    assert [trial.compute_unit for trial in trials(mac(gpu_cores), [BOTH], UNITS)] == order


def test_each_size_of_a_model_is_tried_and_what_cannot_fit_is_not() -> None:
    large = replace(variant("sha256:large"), width=16, height=16)
    vast = replace(variant("sha256:vast"), width=32, height=32, size_bytes=1 << 50)
    assert planned(mac(8), model(variant(), large, vast)) == {("sha256:1", GPU), ("sha256:large", GPU)}


def test_a_machine_with_nothing_to_choose_tries_nothing_by_itself() -> None:
    machine = NULL_MACHINE
    facts = worker_facts(machine, [BOTH], "portable", (CPU,), {})
    assert missing(machine, [BOTH], facts).trials == ()
    assert [trial.compute_unit for trial in trials(machine, [BOTH], (CPU,))] == [CPU]


@pytest.mark.parametrize(("gpu_cores", "first"), [(14, 0.0), (15, FIRST_SECONDS), (23, FIRST_SECONDS), (24, 0.0)])
def test_only_chips_of_which_nothing_is_known_measure_before_they_render(gpu_cores: int, first: float) -> None:
    machine = mac(gpu_cores)
    wanted = missing(machine, [BOTH], facts(machine, BOTH))
    assert (len(wanted.trials), wanted.first_seconds) == (2, first)


def test_what_was_tried_is_not_tried_again_and_memory_alone_is_no_trial() -> None:
    machine = mac(8)
    known = facts(machine, BOTH)
    for measured in (
        Measurement("sha256:split", ANE, seconds_per_step=0.4),
        Measurement("sha256:1", GPU, peak_memory_bytes=5),
    ):
        known = known.with_measurement(measured)
    assert [trial.compute_unit for trial in missing(machine, [BOTH], known).trials] == [GPU]
    failed = known.with_measurement(Measurement("sha256:1", GPU, failure="no"))
    assert missing(machine, [BOTH], failed).trials == ()


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self._now = 0.0

    def sleep(self, seconds: float) -> None:
        self._now += seconds

    def perf_counter(self) -> float:
        return self._now


def test_a_trial_times_warm_steps_apart_from_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("farm.worker.calibration.time", clock)
    monkeypatch.setitem(ACTIONS, "sleep", clock.sleep)
    loads: Iterator[float] = iter([0.3, 0.1])

    class Slow(ScriptedPipeline):
        def render(self, spec: RenderSpec) -> Generator[None, None, Rendered]:
            clock.sleep(0.05)  # the text encoder
            return (yield from super().render(spec))

    def load() -> Slow:
        clock.sleep(next(loads))
        return Slow(lambda _: None)

    script = " ".join(f"sleep {0.2 if step == 1 else 0.02} at {step}" for step in range(1, 10))
    seen: list[int] = []
    trial = Trial("sha256:1", CPU, spec(script, steps=9))
    measured = measure(trial, load, Gauge(), seen.append)
    assert seen == list(range(1, 10))
    assert measured.seconds_per_step == pytest.approx(0.02)
    assert measured.fixed_seconds == pytest.approx(0.05 + 0.2 - 0.02)
    assert measured.load_seconds == pytest.approx(0.1)
    assert measured.compile_seconds == pytest.approx(0.3 - 0.1)
    assert measured.spread_seconds == pytest.approx(0.0)
    assert measured.peak_memory_bytes > 0


def trial(script: str = "", digest: str = "sha256:1", steps: int = 9) -> Trial:
    return Trial(digest, CPU, spec(script, steps=steps))


def test_an_assignment_puts_a_trial_off_until_there_is_nothing_to_do() -> None:
    with scripted_host() as (host, reports):
        host.calibrate(Calibrate((trial("sleep 0.3 at each"),), 0.0, 0.1))
        while reports.next(TrialReport).step < 1:
            pass
        host.render(assignment(1))
        assert reports.end_of(1).state is AttemptState.SUCCEEDED
        assert not any(_is_trial(report) for report in reports.seen)
        assert _next_trial(reports).seconds_per_step > 0


def test_a_machine_that_measures_first_says_so_and_renders_afterwards() -> None:
    with scripted_host() as (host, reports):
        host.calibrate(Calibrate((trial("sleep 0.1 at 2"), trial(digest="sha256:none")), 60.0, 0.1))
        while not reports.next(DeviceReport).reason:
            pass
        host.render(assignment(1))
        assert _next_trial(reports).failure == ""
        assert "KeyError" in _next_trial(reports).failure
        assert reports.next(DeviceReport).reason == ""
        assert reports.end_of(1).state is AttemptState.SUCCEEDED


def test_a_process_that_dies_over_a_trial_does_not_prolong_the_time_for_which_nothing_is_rendered() -> None:
    with scripted_host() as (host, reports):
        host.calibrate(Calibrate((trial("sleep 0.6 at 1 crash at 2"),), 0.5, 0.0))
        assert "2 times" in _next_trial(reports).failure
        told = [report for report in reports.seen if isinstance(report, DeviceReport) and "measures" in report.reason]
        assert len(told) == 1


def test_a_trial_over_which_the_process_dies_is_tried_twice_and_then_told_as_failed() -> None:
    with scripted_host() as (host, reports):
        host.calibrate(Calibrate((trial("crash at 3"),), 0.0, 0.0))
        measured = _next_trial(reports)
        assert "signal" in measured.failure
        assert "2 times" in measured.failure
        assert host.facts.measurements == (measured,)
        host.render(assignment(1))
        assert reports.end_of(1).state is AttemptState.SUCCEEDED


def test_a_variant_that_does_not_load_has_failed_its_trial() -> None:
    with scripted_host(pipeline="broken") as (host, reports):
        host.calibrate(Calibrate((trial(),), 0.0, 0.0))
        assert "weight.bin is cut short" in _next_trial(reports).failure


def test_who_renders_tells_how_long_it_loaded_and_how_much_memory_its_first_image_took() -> None:
    with scripted_host(models=(BOTH,)) as (host, reports):
        for number, digest in enumerate(("sha256:1", "sha256:split", "sha256:1"), 1):
            host.render(assignment(number, "", "", "", digest=digest))
            reports.end_of(number)
        told = [
            report.measurement
            for report in reports.seen
            if isinstance(report, MeasurementReport) and report.measurement.digest == "sha256:1"
        ]
        loads = [one.load_seconds for one in told if one.load_seconds]
        peaks = [one.peak_memory_bytes for one in told if one.peak_memory_bytes]
        assert len(loads) == 2, "one for each time that it was loaded, not for each image"
        assert peaks[0] > 1 << 20
        assert {(one.compute_unit, one.is_trial) for one in told} == {(CPU, False)}
        known = host.facts.measured("sha256:1", CPU)
        assert (known.load_seconds, known.peak_memory_bytes) == (loads[1], max(peaks))
        assert known.first_load_seconds == pytest.approx(max(loads))


def _is_trial(report: object) -> bool:
    return isinstance(report, MeasurementReport) and report.measurement.is_trial


def _next_trial(reports: Reports) -> Measurement:
    while True:
        measured = reports.next(MeasurementReport).measurement
        if measured.is_trial:
            return measured


@contextmanager
def calibrating(path: Path, machine: Machine, shapes: Model) -> Iterator[tuple[PipelineHost, Reports]]:
    host = PipelineHost([shapes], TwoUnits(threads=1), measurements=path, ask_machine=lambda: machine)
    reports = Reports()
    host.start(reports)
    try:
        yield host, reports
    finally:
        host.stop()


def test_the_bundled_model_is_measured_once_on_each_unit_of_a_machine_and_system(tmp_path: Path) -> None:
    path, machine = tmp_path / "measurements.json", mac(19)
    shapes = Catalogue([BUNDLED], tmp_path / "digests.json").get("shapes")
    of = {one.attention: one.digest for one in shapes.variants}
    with calibrating(path, machine, shapes) as (host, reports):
        found = [_next_trial(reports), _next_trial(reports)]
        assert host.facts.measurements == tuple(found)
    places = [(one.digest, one.compute_unit) for one in found]
    assert places == [(of[AttentionVariant.SPLIT_EINSUM], ANE), (of[AttentionVariant.ORIGINAL], GPU)]
    for one in found:
        assert 0 < one.seconds_per_step < 5
        assert 0 < one.load_seconds < 60
        assert one.peak_memory_bytes > 50 << 20
        assert one.failure == ""
    again = PipelineHost([shapes], TwoUnits(), measurements=path, ask_machine=lambda: machine)
    again.start(lambda _: None)
    again.stop()
    assert missing(machine, [shapes], again.facts).trials == ()
    newer = replace(machine, os="macOS 26.2 (25C56)")
    updated = PipelineHost([shapes], TwoUnits(), measurements=path, ask_machine=lambda: newer)
    updated.start(lambda _: None)
    updated.stop()
    assert len(missing(newer, [shapes], updated.facts).trials) == 2


def test_a_host_without_a_file_measures_nothing_by_itself() -> None:
    host = PipelineHost([model()], NoRuntime(), pipeline="tests.worker.pipelines:scripted")
    host.start(lambda _: None)
    host.stop()
    assert host.facts.measurements == ()
