"""The progress of a job, from its events."""

import io
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from farm.cli.progress import Tally, describe_rate, describe_remaining, follow
from farm.cli.waiting import describe_wait
from farm.client import Client
from farm.v1 import job_pb2, job_service_pb2
from tests.running_farm import running_farm
from tests.waiting import eventually


def job_event(done: int, failed: int = 0, eta: int | None = None) -> job_service_pb2.JobEvent:
    estimate = None if eta is None else job_pb2.Eta(likely=Timestamp(seconds=eta))
    job = job_pb2.Job(image_count=10, succeeded_count=done - failed, failed_count=failed, eta=estimate)
    return job_service_pb2.JobEvent(job=job)


def test_the_rate_counts_only_what_was_rendered_while_watching() -> None:
    tally = Tally()
    tally.begin(job_event(4).job, now=100.0)
    tally.see(job_event(4), now=110.0)
    assert tally.rate == 0
    tally.see(job_event(6), now=120.0)
    assert tally.rate == pytest.approx(2 / 20 * 3600)
    assert tally.remaining_seconds(120.0) == pytest.approx(40.0)


def test_the_farms_own_estimate_is_preferred_to_the_rate() -> None:
    tally = Tally()
    tally.begin(job_event(0).job, now=100.0)
    assert tally.remaining_seconds(100.0) is None
    tally.see(job_event(5, eta=1000), now=200.0)
    assert tally.remaining_seconds(200.0) == 800
    assert tally.remaining_seconds(2000.0) == 0


def test_of_a_job_that_is_done_nothing_is_left() -> None:
    tally = Tally()
    tally.begin(job_pb2.Job(image_count=2, succeeded_count=1, failed_count=1), 0.0)
    assert tally.remaining_seconds(9.0) == 0.0


def test_the_figures_beside_the_bar_stay_whole_on_a_terminal_of_80_columns(tmp_path: Path) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, no_color=True)
    with running_farm(tmp_path / "state") as running, Client(running.address) as client:
        follow(client.submit(["a"] * 20, display_name="a name that is longer than its place"), console)
    assert re.search(r"a name that is longer t… .*20/20 .*images/.* 0:00:00 left", screen.getvalue())


def test_a_failed_image_is_settled_too() -> None:
    tally = Tally()
    tally.begin(job_event(10, failed=3).job, now=0.0)
    assert (tally.done, tally.failed, tally.total) == (10, 3, 10)


@pytest.mark.parametrize(
    ("stage", "note"), [("load", "loading the model"), ("denoise", "step 7 of 20"), ("compile", "compiling the model")]
)
def test_a_progress_event_says_what_is_being_done(stage: str, note: str) -> None:
    tally = Tally()
    progress = job_pb2.Progress(step=7, step_count=20, stage=stage)
    tally.see(job_service_pb2.JobEvent(progress=progress), now=1.0)
    assert tally.note == note


@pytest.mark.parametrize(
    ("images_per_hour", "words"),
    [(0, "- images/min"), (12, "12.0 images/h"), (90, "1.5 images/min"), (174_774, "2,912.9 images/min")],
)
def test_a_rate_has_the_unit_that_suits_it(images_per_hour: float, words: str) -> None:
    assert describe_rate(images_per_hour) == words


@pytest.mark.parametrize(("seconds", "words"), [(None, "-:--:--"), (0.4, "0:00:00"), (3723, "1:02:03")])
def test_a_time_to_the_end_is_written_as_clocks_write_it(seconds: float | None, words: str) -> None:
    assert describe_remaining(seconds) == words


def explained(*workers: tuple[str, bool, str], summary: str = "It waits.") -> job_service_pb2.ExplainJobResponse:
    return job_service_pb2.ExplainJobResponse(
        summary=summary,
        workers=[
            job_service_pb2.WorkerExplanation(worker=f"workers/{name}", runs_here=runs, detail=detail)
            for name, runs, detail in workers
        ],
    )


def test_why_nothing_is_rendered_is_told_worker_by_worker_and_nothing_while_something_is() -> None:
    assert describe_wait(explained(("a", True, "renders it now"), ("b", False, "is offline"))) == ""
    assert describe_wait(explained(summary="It waits for a worker: none has joined yet.")) == (
        "It waits for a worker: none has joined yet"
    )
    busy = explained(("a", False, "is suspended: another farm, process 7"), summary="None can. Each line says why.")
    assert describe_wait(busy) == "None can; a is suspended: another farm, process 7"
    many = describe_wait(explained(*((str(number), False, "is offline") for number in range(5))))
    assert many.endswith("2 is offline; 2 more workers: farm explain")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_job_that_does_not_move_is_explained_once_on_a_terminal_and_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr("farm.cli.waiting.STILL_SECONDS", 0.1)
    monkeypatch.setattr("farm.cli.waiting._LOOK_SECONDS", 0.05)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=150)
    with running_farm(tmp_path / "state", seconds_per_image=0.2) as running, Client(running.address) as client:
        job = client.submit(["a"] * 6, display_name="six")
        job.pause()

        def resume_when_told() -> None:
            eventually(lambda: "It is paused" in screen.getvalue())
            time.sleep(0.4)  # in which it would be told again
            job.resume()

        with ThreadPoolExecutor(1) as thread:
            resumed = thread.submit(resume_when_told)
            follow(client.job(job.name), console)
            resumed.result()
    assert screen.getvalue().count("six: It is paused") == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_a_job_is_followed_to_its_end_on_a_terminal_and_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, terminal: bool
) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=150)
    state = tmp_path_factory.mktemp("farm") / "state"
    with running_farm(state, seconds_per_image=0.05) as running, Client(running.address) as client:
        follow(client.submit(["a"] * 6, display_name="six"), console)
    shown = screen.getvalue()
    assert "six" in shown
    assert ("6/6" if terminal else "six: 6 of 6 images") in shown
    assert "images/" in shown
    assert "left" in shown
