"""The commands that talk to a farm, against a real one."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from farm.cli.main import COMMANDS
from farm.domain import SAMPLERS
from tests.cli.conftest import Run
from tests.running_farm import running_farm
from tests.waiting import eventually


def submitted(run: Run, *arguments: object) -> Any:
    """Submits, waits, and gives the job as JSON."""
    code, out, err = run("submit", "--wait", "--json", *arguments)
    assert code == 0, err
    return json.loads(out)


def test_prompts_are_submitted_rendered_and_fetched_with_one_command(run: Run, tmp_path: Path) -> None:
    code, out, err = run("submit", "-p", "a red circle", "-p", "a blue star", "--wait", "--pull", tmp_path / "out")
    assert (code, err) == (0, "")
    assert "Accepted jobs/" in out
    assert "2 of 2 images" in out
    assert str(tmp_path / "out") in out
    lines = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == ["a red circle", "a blue star"]
    assert (tmp_path / "out" / "contact-sheet.png").exists()


def test_a_submission_says_how_to_follow_and_fetch_it(run: Run) -> None:
    _, out, _ = run("submit", "-p", "a red circle")
    commands = [line.split("farm ", 1)[1].split() for line in out.splitlines() if "farm " in line]
    assert [command[0] for command in commands] == ["watch", "pull"]
    assert run("watch", commands[0][1])[0] == 0


def test_options_fill_in_what_rows_leave_open(run: Run, tmp_path: Path) -> None:
    batch = tmp_path / "batch.csv"
    batch.write_text("prompt,steps\na,2\nb,\n")
    job = submitted(run, batch, "--steps", 5, "--seed", 9, "--name", "filled", "--label", "k=v", "--priority", -3)
    assert (job["display_name"], job["priority"], job["spec"]["labels"]) == ("filled", -3, {"k": "v"})
    run("pull", job["name"], tmp_path / "out")
    images = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [(image["spec"]["steps"], image["seed"]) for image in images] == [(2, 9), (5, 10)]


def test_a_batch_comes_from_standard_input_as_well(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"prompt": "a"}\n{"prompt": "b"}\n')))
    assert submitted(run, "-", "--format", "jsonl")["image_count"] == 2


def job_count(run: Run) -> int:
    return len(json.loads(run("jobs", "--json", "--limit", 1000)[1]))


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("prompt,steps\n\na,1\nb,many\n", "line 4, column steps"),  # refused by the reader
        ("prompt,steps\n\na,1\nb,0\n", "line 4, column steps"),  # refused by the farm
        ("prompt,steps\n\na,1\nb,99999999999\n", "line 4"),  # does not fit the wire
    ],
)
def test_a_wrong_row_is_named_by_line_and_column_and_nothing_is_submitted(
    run: Run, tmp_path: Path, content: str, place: str
) -> None:
    batch = tmp_path / "batch.csv"
    batch.write_text(content)
    before = job_count(run)
    code, out, err = run("submit", batch)
    assert (code, out) == (1, "")
    assert f"{batch}, {place}" in err
    assert job_count(run) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit"],
        ["submit", "x.txt", "-p", "a"],
        ["submit", "-p", "a", "--label", "k"],
        ["submit", "-p", "a", "--request-id", "x"],
    ],
)
def test_a_command_that_is_used_wrongly_says_how_it_is_used(run: Run, arguments: list[str]) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert "Usage: farm submit" in err


@pytest.mark.parametrize(("typed", "told"), [("submitt", "Did you mean 'submit'?"), ("xyz", "No such command 'xyz'.")])
def test_a_mistyped_command_is_told_what_it_may_have_meant(run: Run, typed: str, told: str) -> None:
    code, _, err = run(typed)
    assert (code, told in err) == (2, True)


def test_a_job_with_failed_images_is_listed_watched_and_retried(run: Run) -> None:
    code, out, err = run("submit", "--wait", "--json", "-p", "a", "-p", "b", "-p", "c", "-p", "fails")
    job = json.loads(out)
    assert code == 1
    assert "1 image failed, the first of them image 3: " in err
    assert (job["state"], job["succeeded_count"], job["failed_count"]) == ("JOB_STATE_SUCCEEDED", 3, 1)
    code, out, _ = run("watch", job["name"])
    assert code == 1
    assert "3 of 4 images, 1 failed" in out
    for command in ("watch", "explain"):
        assert "1 image failed, the first of them image 3: " in run(command, job["name"])[1]
    listed = json.loads(run("jobs", "--json", "--state", "succeeded")[1])
    assert listed[0] == json.loads(run("jobs", "--json")[1])[0]
    assert listed[0]["name"] == job["name"]
    (retried,) = json.loads(run("retry", job["name"], "--json")[1])
    assert retried["state"] in ("JOB_STATE_PENDING", "JOB_STATE_RUNNING")


def test_watching_for_a_program_prints_an_event_a_line_and_ends_with_the_job(run: Run) -> None:
    job = submitted(run, "-p", "a")
    code, out, _ = run("watch", job["name"], "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert events[0]["job"]["name"] == job["name"]


def test_jobs_are_steered_by_their_names_or_ids(run: Run) -> None:
    name = submitted(run, "-p", "a")["name"]
    code, _, err = run("pause", name)
    assert code == 1
    assert "has ended" in err
    code, out, _ = run("delete", name.removeprefix("jobs/"))
    assert (code, out) == (0, f"{name}: deleted\n")
    assert run("explain", name)[0] == 1


def test_a_running_job_is_paused_explained_resumed_and_cancelled(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_farm(tmp_path / "state", seconds_per_image=0.2) as slow:
        monkeypatch.setenv("FARM_ADDRESS", slow.address)
        batch = tmp_path / "batch.txt"
        batch.write_text("a red circle\n" * 200)
        name = json.loads(run("submit", batch, "--json")[1])["name"]
        assert eventually(lambda: "It should end in 0:00:" in run("explain", name)[1])
        assert "paused" in run("pause", name)[1]
        paused = run("explain", name)[1]
        assert "It is paused on request." in paused
        assert "It should end" not in paused
        assert json.loads(run("explain", name, "--json")[1])["workers"][0]["worker"] == "workers/local"
        assert run("resume", name)[0] == 0
        assert "cancel" in run("cancel", name)[1]
        code, out, _ = run("watch", name)
        assert code == 1
        assert "cancelled" in out
        lost = json.loads(run("explain", name, "--json")[1])["lost_attempts"]
        assert {attempt["worker"] for attempt in lost} == {"workers/local"}
        assert f"{len(lost)} attempts were lost" in run("explain", name)[1]


def test_pulling_again_keeps_what_is_there(run: Run, tmp_path: Path) -> None:
    name = submitted(run, "-p", "a", "-p", "b")["name"]
    assert json.loads(run("pull", name, tmp_path, "--json")[1])["fetched_count"] == 2
    assert json.loads(run("pull", name, tmp_path, "--json")[1])["fetched_count"] == 0
    assert "(2 of them fetched before)" in run("pull", name, tmp_path)[1]


def test_a_folder_that_cannot_take_the_images_is_told_before_anything_is_submitted(run: Run, tmp_path: Path) -> None:
    name = submitted(run, "-p", "a")["name"]
    assert run("pull", name, tmp_path / "used")[0] == 0
    (tmp_path / "file").write_bytes(b"")
    before = job_count(run)
    for folder, says in ((tmp_path / "used", f"holds the images of {name}"), (tmp_path / "file" / "x", "cannot take")):
        code, out, err = run("submit", "-p", "a", "--pull", folder)
        assert (code, out) == (1, "")
        assert says in err
    assert job_count(run) == before


def test_a_damaged_image_is_named_and_everything_else_is_fetched(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_farm(tmp_path / "state") as damaged:
        monkeypatch.setenv("FARM_ADDRESS", damaged.address)
        name = submitted(run, "-p", "a", "-p", "b", "-p", "c")["name"]
        next(damaged.state.rglob("*.png")).unlink()
        code, _, err = run("pull", name, tmp_path / "out")
    assert code == 1
    assert "1 by index" in err
    assert len((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "out" / "contact-sheet.png").exists()


def test_the_priority_of_jobs_is_changed_until_they_end(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_farm(tmp_path / "state", seconds_per_image=30) as slow:
        monkeypatch.setenv("FARM_ADDRESS", slow.address)
        name = json.loads(run("submit", "-p", "a", "--json")[1])["name"]
        assert run("prioritize", name, "--to", "-5")[:2] == (0, f"{name}: priority -5\n")
        assert json.loads(run("prioritize", name, "--to", "7", "--json")[1])[0]["priority"] == 7
        assert "must be from -100 to 100" in run("prioritize", name, "--to", "101")[2]
        run("cancel", name)
        run("watch", name)
        assert "cannot be done to it any more" in run("prioritize", name, "--to", "1")[2]


def test_a_job_without_an_image_is_pulled_without_a_word_of_a_contact_sheet(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_farm(tmp_path / "state", seconds_per_image=600) as slow:
        monkeypatch.setenv("FARM_ADDRESS", slow.address)
        name = json.loads(run("submit", "-p", "a", "--steps", 999, "--json")[1])["name"]
        assert run("pull", name, tmp_path / "out")[1] == f"0 images in {tmp_path / 'out'}\n"
        run("cancel", name)
        assert "cancelled on request: 0 of 1 image" in run("watch", name)[1]
        assert "No worker" not in run("explain", name)[1]


def test_leaving_a_watch_says_that_the_job_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("farm.cli.jobs.follow", interrupted)
    code, out, err = run("submit", "-p", "a", "--wait")
    name = out.split()[1].rstrip(":").removeprefix("jobs/")
    assert code == 130
    assert f"farm watch {name}" in err
    assert f"farm cancel {name}" in err


def test_workers_and_models_are_listed_for_people_and_for_programs(run: Run) -> None:
    assert "local" in run("workers")[1]
    assert json.loads(run("workers", "--json")[1])[0]["name"] == "workers/local"
    listed = run("models")[1]
    assert "64x64" in listed
    assert all(sampler in listed for sampler in SAMPLERS)
    assert json.loads(run("models", "--json")[1])[0]["name"] == "models/shapes"


def test_a_worker_is_drained_and_takes_work_again(run: Run) -> None:
    assert run("drain", "local")[1] == "local is draining\n"
    assert json.loads(run("drain", "local", "--now", "--json")[1])[0]["state"] == "WORKER_STATE_DRAINING"
    assert run("drain", "local", "--undo")[1] == "local is active\n"
    assert run("drain", "local", "--undo", "--now")[0] == 2
    assert 'No worker "nobody"' in run("drain", "nobody")[2]


def test_a_model_is_loaded_ahead_on_the_workers_that_can_and_others_say_why_not(run: Run) -> None:
    assert "local" in run("models", "prewarm", "shapes")[1]
    assert json.loads(run("models", "prewarm", "shapes", "--worker", "local", "--json")[1]) == {
        "workers": ["workers/local"]
    }
    assert eventually(lambda: json.loads(run("workers", "--json")[1])[0]["resident_models"] == ["models/shapes"])
    code, _, err = run("models", "prewarm", "shapes", "--worker", "nobody")
    assert (code, 'No worker "nobody"' in err) == (1, True)
    assert "no-model" in run("models", "prewarm", "no-model")[2]


@pytest.mark.parametrize(
    "arguments",
    [["jobs"], ["submit", "-p", "a"], ["watch", "x"], ["pull", "x", "out"], ["workers"], ["models", "prewarm", "x"]],
)
def test_a_farm_that_is_not_there_is_told_in_a_paragraph(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    code, out, err = run(*arguments, "--address", f"unix:{tmp_path}/nobody.sock")
    assert (code, out) == (1, "")
    assert err.startswith("Error: No farm answers at unix:")
    assert "farm up" in err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_itself_with_an_example(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"farm {command}" in out.partition("Example")[2]


def test_help_lists_every_command_without_loading_what_they_need() -> None:
    script = """
import atexit, sys
from farm.cli.main import main
heavy = {"grpc", "rich", "google", "numpy"}
atexit.register(lambda: print(sorted(heavy & set(sys.modules)), file=sys.stderr))
main(["--help"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert all(f"  {command} " in done.stdout for command in COMMANDS)
    assert "\\b" not in done.stdout
    assert "  farm jobs\n" in done.stdout


def test_an_unexpected_error_is_told_as_a_bug_and_not_as_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr("farm.cli.options.FarmAddress.connect", broken)
    code, _, err = run("workers")
    assert code == 1
    assert "ZeroDivisionError: surprise" in err
    assert "FARM_TRACEBACK=1" in err


def test_names_that_look_like_markup_are_printed_as_they_are(run: Run) -> None:
    """Rules out a table that is styled, or broken, by what somebody called a job."""
    submitted(run, "-p", "a red circle", "--name", "[/b] [red]x")
    code, out, _ = run("jobs")
    assert code == 0
    assert "[/b] [red]x" in out
