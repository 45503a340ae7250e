"""Real processes throughout: children are started, killed, stopped and crashed as a machine would do it."""

import dataclasses
import io
import os
import signal
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import pytest
from PIL import Image

from farm.domain import AttemptKey, AttemptState, ChipClass, ComputeUnit, Resident
from farm.reports import (
    AttemptReport,
    DeviceReport,
    FactsReport,
    ImageFailureReport,
    ResidencyReport,
    Stage,
    StageReport,
    StepReport,
)
from farm.worker.deadlines import Deadlines
from farm.worker.device_lock import DeviceLock
from farm.worker.messages import Settings, Stop, Word
from farm.worker.pipeline_host import PipelineHost
from farm.worker.supervisor import BACK_OFF_LIMIT, PipelineChild, back_off
from tests.waiting import PATIENCE
from tests.worker.builders import (
    NoRuntime,
    Reports,
    assert_renders,
    assignment,
    model,
    scripted_host,
    variant,
)


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FARM_LOCKS", str(tmp_path))
    return tmp_path


START = 5.0
"""Seconds that a child takes to start at most, unless the machine is very busy."""


def assert_renders_in_the_end(host: PipelineHost, reports: Reports, first: int) -> None:
    """For children that have little time to start: on a busy machine the first may be too late."""
    for number in range(first, first + 10):
        host.render(assignment(number))
        if reports.end_of(number).state is AttemptState.SUCCEEDED:
            return
    raise AssertionError("no child started in time")


def child_pid(locks: Path) -> int:
    """The child is the process that holds the device."""
    holder = DeviceLock("cpu", locks).holder()
    assert holder is not None
    return holder.pid


def test_an_assignment_without_images_loads_the_model_and_the_next_one_need_not() -> None:
    with scripted_host() as (host, reports):
        host.render(dataclasses.replace(assignment(1), images=()))
        assert reports.end_of(1).state is AttemptState.SUCCEEDED
        assert ResidencyReport((Resident("scripted", "sha256:1", ComputeUnit.CPU_ONLY),)) in reports.seen
        loaded = len(reports.seen)
        assert_renders(host, reports, 2)
        assert not any(isinstance(r, StageReport) and r.stage is Stage.LOAD for r in reports.seen[loaded:])


def test_a_model_that_cannot_be_loaded_ahead_says_why() -> None:
    with scripted_host(pipeline="broken") as (host, reports):
        host.render(dataclasses.replace(assignment(1), images=()))
        end = reports.end_of(1)
        assert (end.state, "weight.bin is cut short" in end.reason) == (AttemptState.ABANDONED, True)


def test_an_attempt_is_told_from_its_first_stage_to_its_end() -> None:
    with scripted_host() as (host, reports):
        host.render(assignment(1, "", "", steps=2))
        reports.end_of(1)
    stages = [(r.stage, r.index) for r in reports.seen if isinstance(r, StageReport) and r.stage is not Stage.SAVE]
    of_an_image = (Stage.ENCODE, Stage.DENOISE, Stage.DECODE)
    assert stages == [
        (Stage.COMPILE, None),
        (Stage.LOAD, None),
        *[(stage, index) for index in (10, 11) for stage in of_an_image],
    ]
    steps = [(r.index, r.step, r.step_count) for r in reports.seen if isinstance(r, StepReport)]
    assert steps == [(10, 1, 2), (10, 2, 2), (11, 1, 2), (11, 2, 2)]
    assert [r.index for r in reports.images_of(1)] == [10, 11]
    assert isinstance(reports.seen[-1], AttemptReport)


def test_an_image_arrives_as_a_png_that_says_how_it_came_to_be() -> None:
    from farm.diffusion.png import read_provenance

    with scripted_host() as (host, reports):
        host.render(assignment(1))
        reports.end_of(1)
        facts = host.facts
    (image,) = reports.images_of(1)
    assert Image.open(io.BytesIO(image.png)).size == (8, 8)
    assert read_provenance(image.png).provenance == image.provenance
    assert image.provenance.chip == facts.chip
    assert image.provenance.versions == {"somelib": "1.2", "farm": facts.version}
    assert image.render_seconds > 0


def test_the_facts_offer_every_variant() -> None:
    models = (model(variant("sha256:a"), variant("sha256:b")), model(variant("sha256:c", "other")))
    with scripted_host(models=models) as (host, _):
        offers = [(offer.model, offer.digest) for offer in host.facts.offers]
    assert offers == [("scripted", "sha256:a"), ("scripted", "sha256:b"), ("other", "sha256:c")]


def test_a_model_is_loaded_once_and_another_takes_its_place() -> None:
    models = (model(variant("sha256:a")), model(variant("sha256:b", "other")))
    with scripted_host(models=models) as (host, reports):
        for number, digest in enumerate(["sha256:a", "sha256:a", "sha256:b"], 1):
            host.render(assignment(number, digest=digest))
        reports.end_of(3)
    resident = [
        [one.model for one in report.residents] for report in reports.seen if isinstance(report, ResidencyReport)
    ]
    assert resident == [[], ["scripted"], [], ["other"]]


@pytest.mark.parametrize(
    ("script", "reason", "words"),
    [
        ("fail at 2", "IMAGE_FAILED", "all latents are NaN"),
        ("raise at 2", "INTERNAL", "the accelerator said no"),
    ],
)
def test_an_image_that_fails_costs_the_others_nothing(script: str, reason: str, words: str) -> None:
    with scripted_host() as (host, reports):
        host.render(assignment(1, "", script, ""))
        end = reports.end_of(1)
    assert end.state is AttemptState.SUCCEEDED
    assert [image.index for image in reports.images_of(1)] == [10, 12]
    (failure,) = [report for report in reports.seen if isinstance(report, ImageFailureReport)]
    assert (failure.index, failure.reason) == (11, reason)
    assert words in failure.message


def test_a_model_that_does_not_load_fails_each_image_and_leaves_the_process_usable() -> None:
    with scripted_host(pipeline="broken") as (host, reports):
        host.render(assignment(1, "", ""))
        host.render(assignment(2, ""))
        reports.end_of(2)
    failures = [report for report in reports.seen if isinstance(report, ImageFailureReport)]
    assert [(f.index, f.reason) for f in failures] == [
        (10, "PACKAGE_INVALID"),
        (11, "PACKAGE_INVALID"),
        (20, "PACKAGE_INVALID"),
    ]


def test_a_cancelled_attempt_ends_at_its_next_step() -> None:
    with scripted_host() as (host, reports):
        host.render(assignment(1, "sleep 0.05 at each", "", steps=1000))
        reports.next(StepReport)
        host.cancel(AttemptKey("job", 1), "its submitter cancelled it")
        end = reports.end_of(1)
        last = [r.step for r in reports.seen if isinstance(r, StepReport)][-1]
        assert_renders(host, reports, 2)
    assert (end.state, end.reason) == (AttemptState.CANCELLED, "its submitter cancelled it")
    assert last < 500, "it went on for long"


def test_images_finished_before_a_cancellation_are_delivered_before_the_attempt_ends() -> None:
    with scripted_host() as (host, reports):
        host.render(assignment(1, "", "sleep 0.05 at each", "", steps=1000))
        while reports.next(StageReport).index != 11:
            pass
        host.cancel(AttemptKey("job", 1))
        assert reports.end_of(1).state is AttemptState.CANCELLED
    assert [image.index for image in reports.images_of(1)] == [10]


def test_an_attempt_that_waits_in_the_process_is_cancelled_without_its_turn() -> None:
    with scripted_host() as (host, reports):
        host.render(assignment(1, "sleep 0.05 at each", steps=1000))
        host.render(assignment(2))
        host.cancel(AttemptKey("job", 2))
        end = reports.next(AttemptReport)
        assert (end.key.number, end.state) == (2, AttemptState.CANCELLED)
        reports.step_of(1)  # which goes on


def test_a_released_attempt_finishes_its_image_and_gives_the_rest_back() -> None:
    with scripted_host() as (host, reports):
        host.render(assignment(1, *["sleep 0.3 at 1"] * 50))
        host.render(assignment(2))
        while reports.next(StageReport).stage is not Stage.DENOISE:
            pass
        host.release(AttemptKey("job", 2))
        host.release(AttemptKey("job", 1))
        ends = [reports.next(AttemptReport), reports.next(AttemptReport)]
    assert [(end.key.number, end.state, end.index) for end in ends] == [
        (2, AttemptState.ABANDONED, None),
        (1, AttemptState.ABANDONED, None),
    ]
    finished = [image.index for image in reports.images_of(1)]
    assert finished == list(range(10, 10 + len(finished)))
    assert 1 <= len(finished) < 50


def test_a_released_attempt_can_still_be_cancelled() -> None:
    with scripted_host() as (host, reports):
        host.render(assignment(1, "sleep 0.05 at each", steps=1000))
        while reports.next(StageReport).stage is not Stage.DENOISE:
            pass
        host.release(AttemptKey("job", 1))
        host.cancel(AttemptKey("job", 1))
        host.release(AttemptKey("job", 1))
        assert reports.end_of(1).state is AttemptState.CANCELLED
    assert reports.images_of(1) == []


def test_cancelling_what_has_ended_changes_nothing() -> None:
    with scripted_host() as (host, reports):
        assert_renders(host, reports, 1)
        host.cancel(AttemptKey("job", 1))
        host.cancel(AttemptKey("nobody", 7))
        assert_renders(host, reports, 2)
    assert [r.state for r in reports.seen if isinstance(r, AttemptReport)] == [AttemptState.SUCCEEDED] * 2


def test_a_child_that_is_killed_is_replaced_and_its_attempts_are_abandoned(locks: Path) -> None:
    with scripted_host() as (host, reports):
        host.render(assignment(1, "", "sleep 60 at 2"))
        host.render(assignment(2))
        while reports.next(StepReport).index != 11:
            pass
        os.kill(child_pid(locks), signal.SIGKILL)
        ends = [reports.next(AttemptReport), reports.next(AttemptReport)]
        assert [(end.key.number, end.state, end.index) for end in ends] == [
            (1, AttemptState.ABANDONED, 11),
            (2, AttemptState.ABANDONED, None),
        ]
        assert "signal 9" in ends[0].reason
        assert "image 11" in ends[0].reason
        assert reports.next(ResidencyReport).residents == ()
        assert_renders(host, reports, 3)


def test_a_child_that_crashes_in_native_code_is_replaced() -> None:
    with scripted_host() as (host, reports):
        host.render(assignment(1, "crash at 1"))
        end = reports.end_of(1)
        assert (end.state, end.index) == (AttemptState.ABANDONED, 10)
        assert "signal 11" in end.reason
        assert_renders(host, reports, 2)


def test_a_child_that_dies_while_idle_is_replaced_before_it_is_needed(locks: Path) -> None:
    with scripted_host() as (host, reports):
        assert_renders(host, reports, 1)
        first = child_pid(locks)
        os.kill(first, signal.SIGKILL)
        reports.next(DeviceReport)
        assert child_pid(locks) != first
        assert_renders(host, reports, 2)


@pytest.mark.parametrize("script", ["sleep 60 at 2", "hold 60 at 2"])
def test_a_step_that_hangs_is_ended_at_its_deadline(script: str) -> None:
    with scripted_host(deadlines=Deadlines(first_step=2, step_floor=2)) as (host, reports):
        host.render(assignment(1, script))
        end = reports.end_of(1)
        assert (end.state, end.index) == (AttemptState.ABANDONED, 10)
        assert "silent" in end.reason
        assert "denoise" in end.reason
        assert_renders(host, reports, 2)


def test_a_child_that_the_system_has_stopped_is_ended_at_its_deadline(locks: Path) -> None:
    with scripted_host(deadlines=Deadlines(first_step=2, step_floor=2)) as (host, reports):
        host.render(assignment(1, "sleep 0.05 at each", steps=1000))
        reports.next(StepReport)
        stopped = child_pid(locks)
        os.kill(stopped, signal.SIGSTOP)
        assert reports.end_of(1).state is AttemptState.ABANDONED
        assert_renders(host, reports, 2)
        assert child_pid(locks) != stopped


def test_an_idle_child_that_does_not_take_its_work_up_is_ended(locks: Path) -> None:
    with scripted_host(deadlines=Deadlines(start=START)) as (host, reports):
        assert_renders_in_the_end(host, reports, 1)
        os.kill(child_pid(locks), signal.SIGSTOP)
        host.render(assignment(100))
        assert reports.end_of(100).state is AttemptState.ABANDONED
        assert_renders_in_the_end(host, reports, 101)


def test_an_idle_child_may_idle_for_longer_than_any_deadline(locks: Path) -> None:
    brief = Deadlines(compile=1, load=1, encode=1, first_step=1, step_floor=1, decode=1, save=1, grace=0.1)
    with scripted_host(deadlines=brief) as (host, reports):
        assert_renders(host, reports, 1)
        pid = child_pid(locks)
        time.sleep(1.5)
        assert_renders(host, reports, 2)
        assert child_pid(locks) == pid


def test_the_deadlines_are_those_of_the_stage() -> None:
    with scripted_host(pipeline="slow_to_compile", deadlines=Deadlines(encode=1, load=1)) as (host, reports):
        assert_renders(host, reports, 1)
    with scripted_host(pipeline="slow_to_compile", deadlines=Deadlines(compile=1)) as (host, reports):
        host.render(assignment(1))
        end = reports.end_of(1)
    assert end.state is AttemptState.ABANDONED
    assert "compile" in end.reason
    assert end.index is None


def test_the_host_answers_at_once_while_the_child_holds_its_gil() -> None:
    with scripted_host() as (host, reports):
        host.render(assignment(1, "hold 4 at 1"))
        while reports.next(StageReport).stage is not Stage.DENOISE:
            pass
        began = time.monotonic()
        big = dataclasses.replace(assignment(2).images[0][1], init_image=b"x" * 3_000_000)
        host.render(dataclasses.replace(assignment(2), images=((20, big),)))
        host.cancel(AttemptKey("job", 1))
        host.render(assignment(3))
        answered = time.monotonic()
        assert reports.end_of(1).state is AttemptState.CANCELLED
        assert answered - began < time.monotonic() - answered, "the host waited for its child"
        assert reports.end_of(3).state is AttemptState.SUCCEEDED


def test_a_host_stops_within_moments_whatever_its_child_does() -> None:
    with scripted_host() as (host, reports):
        host.render(assignment(1, "hold 60 at 1"))
        while reports.next(StageReport).stage is not Stage.DENOISE:
            pass
        began = time.monotonic()
        host.stop()
        assert time.monotonic() - began < 30


def test_a_stopped_host_leaves_the_device_free(locks: Path) -> None:
    with scripted_host() as (host, reports):
        assert_renders(host, reports, 1)
        host.stop()
        assert DeviceLock("cpu", locks).try_acquire()


@pytest.mark.parametrize("script", ["", "sleep 0.2 at 2"])
def test_a_child_that_is_told_to_stop_ends_in_order_at_its_next_step(script: str) -> None:
    settings = Settings(
        (variant(),), NoRuntime(), "tests.worker.pipelines:scripted", Deadlines(), "chip", ChipClass.CPU, "1.0"
    )
    words: SimpleQueue[Word] = SimpleQueue()
    ended = threading.Event()
    child = PipelineChild(
        "farm.worker.pipeline_process", settings, lambda _, word: words.put(word), lambda _: ended.set()
    )
    child.send(assignment(1, script, steps=1000))
    while not isinstance(words.get(timeout=PATIENCE).report, StepReport):
        pass
    child.send(Stop())
    assert child.end(PATIENCE) == "exited with code 0"
    assert ended.is_set()


def test_the_next_attempt_begins_before_the_last_images_file_is_made() -> None:
    size = 1500
    with scripted_host() as (host, reports):
        host.render(assignment(1, size=size, steps=1))
        host.render(assignment(2, size=size, steps=1))
        assert reports.end_of(2).state is AttemptState.SUCCEEDED
    (first,), (second,) = reports.images_of(1), reports.images_of(2)
    assert float(second.notes[0]) < reports.arrived[id(first)]


def test_an_image_that_kills_each_child_makes_the_host_wait_longer_each_time() -> None:
    with scripted_host() as (host, reports):
        for number in (1, 2, 3):
            host.render(assignment(number, "crash at 1"))
            assert reports.end_of(number).state is AttemptState.ABANDONED
        while "next one is started in 0.2 s" not in reports.next(DeviceReport).reason:
            pass
        host.render(assignment(4))
        host.cancel(AttemptKey("job", 4), "no longer wanted")
        end = reports.end_of(4)
        assert (end.state, end.reason) == (AttemptState.CANCELLED, "no longer wanted")
        assert_renders(host, reports, 5)


def test_a_child_that_cannot_even_begin_is_said_to_the_coordinator() -> None:
    with scripted_host(pipeline="not_there") as (_, reports):
        reason = reports.next(DeviceReport).reason
    assert "exited with code 1" in reason
    assert "next one is started in 0.1 s" in reason


def test_back_off_begins_with_the_second_death_and_doubles_to_its_limit() -> None:
    assert [back_off(deaths) for deaths in (1, 2, 3, 4, 5)] == [0, 0.1, 0.2, 0.4, 0.8]
    assert back_off(50) == back_off(5000) == BACK_OFF_LIMIT


def test_a_second_host_on_the_machine_says_who_has_the_device_and_waits(locks: Path) -> None:
    with scripted_host() as (first, first_reports):
        assert_renders(first, first_reports, 1)
        owner = child_pid(locks)
        with scripted_host(deadlines=Deadlines(start=START)) as (second, second_reports):
            reason = second_reports.next(DeviceReport).reason
            assert f"another farm, process {owner}," in reason
            second.render(assignment(1))
            second.render(assignment(2))
            second.cancel(AttemptKey("job", 1))
            assert second_reports.end_of(1).state is AttemptState.CANCELLED
            time.sleep(1.1 * START)
            first.stop()
            assert second_reports.end_of(2).state is AttemptState.SUCCEEDED
            devices = [report.reason for report in second_reports.seen if isinstance(report, DeviceReport)]
            assert devices == [reason, ""]


def test_a_lock_that_cannot_be_used_is_said_in_words(locks: Path) -> None:
    path = DeviceLock("cpu", locks).path
    path.symlink_to("/nowhere/at/all")
    with scripted_host() as (host, reports):
        reason = reports.next(DeviceReport).reason
        assert str(path) in reason
        path.unlink()
        assert reports.next(DeviceReport).reason == ""
        assert_renders(host, reports, 1)


def test_a_model_that_comes_is_told_and_rendered_with_and_one_that_goes_is_given_back() -> None:
    with scripted_host() as (host, reports):
        assert_renders(host, reports, 1)
        host.offer([model(variant("sha256:2", "new"))])
        assert [offer.model for offer in reports.next(FactsReport).facts.offers] == ["new"]

        host.render(assignment(2, digest="sha256:2"))
        assert reports.end_of(2).state is AttemptState.SUCCEEDED
        host.render(assignment(3))
        end = reports.end_of(3)
        assert (end.state, "not here any more" in end.reason) == (AttemptState.ABANDONED, True)


def test_models_that_are_offered_outlive_the_process_that_rendered_with_them(locks: Path) -> None:
    with scripted_host() as (host, reports):
        assert_renders(host, reports, 1)
        host.offer([model(), model(variant("sha256:2", "new"))])
        os.kill(child_pid(locks), signal.SIGKILL)
        host.render(assignment(2, digest="sha256:2"))
        if reports.end_of(2).state is AttemptState.ABANDONED:  # it was sent to the one that was killed
            host.render(assignment(3, digest="sha256:2"))
            assert reports.end_of(3).state is AttemptState.SUCCEEDED


def test_the_same_models_again_are_no_change() -> None:
    with scripted_host() as (host, reports):
        host.offer([model()])
        assert_renders(host, reports, 1)
    assert not any(isinstance(report, FactsReport) for report in reports.seen)


def test_a_folder_of_locks_that_is_not_there_is_named_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "missing"
    monkeypatch.setenv("FARM_LOCKS", str(folder))
    with scripted_host() as (host, reports):
        assert f"the folder {folder} of the device's lock is not there" in reports.next(DeviceReport).reason
        folder.mkdir()
        assert reports.next(DeviceReport).reason == ""
        assert_renders(host, reports, 1)
