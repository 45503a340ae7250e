"""`farm worker run` and `farm up --workers` as processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from farm import Client
from farm.cli.local_fleet import free_ray_address
from farm.domain import JobState, Pin
from tests.cli.conftest import runner
from tests.cli.processes import processes_that_name, start_farm
from tests.waiting import PATIENCE, eventually

WORKER = ("worker", "run", "--folder", "{}", "--state", "{}")
COORDINATOR = ("coordinator", "--engine", "ray", "--state", "{}", "--listen", "127.0.0.1:0")


@pytest.mark.parametrize(
    ("command", "address", "says"),
    [
        (WORKER, "192.0.2.254:7434", "whoever reaches Ray can run any code"),
        (COORDINATOR, "192.0.2.254:7434", "not an address of this machine"),
        (WORKER, "nonsense", "not an address for Ray's head"),
        (COORDINATOR, "nonsense", "not an address for Ray's head"),
    ],
)
def test_an_address_of_ray_that_cannot_be_is_told_in_a_paragraph(
    tmp_path: Path, command: tuple[str, ...], address: str, says: str
) -> None:
    arguments = [argument.format(tmp_path) for argument in command]
    process = start_farm(*arguments, "--ray-address", address, "--null-renderer")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, "")
    assert says in err
    assert "Traceback" not in err


def test_a_worker_that_has_joined_no_farm_is_told_how(tmp_path: Path) -> None:
    process = start_farm("worker", "run", "--folder", tmp_path, "--null-renderer")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, "")
    assert "farm workers invite" in err


def test_a_machine_that_has_joined_ignores_the_coordinators_variable_but_not_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "membership").mkdir()
    (tmp_path / "membership" / "membership.json").write_text("damaged")
    monkeypatch.setenv("FARM_RAY_ADDRESS", "nonsense")
    run, command = runner(capsys), ("worker", "run", "--null-renderer", "--folder", tmp_path, "--state", tmp_path)
    assert "What this machine knows of its farm" in run(*command)[2]
    assert "not an address for Ray's head" in run(*command, "--ray-address", "nonsense")[2]


def test_two_workers_cannot_share_a_folder(tmp_path: Path) -> None:
    options = ["worker", "run", "--folder", tmp_path, "--ray-address", free_ray_address(), "--null-renderer"]
    first = start_farm(*options)
    try:
        assert eventually((tmp_path / "lock").exists)
        second = start_farm(*options)
        _, err = second.communicate(timeout=PATIENCE)
        assert second.returncode == 1
        assert "Another worker uses the folder" in err
    finally:
        first.terminate()
        _, err = first.communicate(timeout=PATIENCE)
    assert first.returncode == 0, err


@pytest.mark.parametrize("command", ["--help", "worker run --help", "coordinator --help"])
def test_help_does_not_wait_for_ray_to_be_imported(command: str) -> None:
    code = f"import sys, farm.cli.main as m\ntry: m.main({command.split()!r})\nfinally: assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_fleet_for_trying_out_renders_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_WORKER_LABELS", "room=attic owner=anna")
    options = ["--address", "127.0.0.1:0", "--state", tmp_path / "state", "--null-renderer", "--workers", "2"]
    process = start_farm("up", *options)
    try:
        assert process.stdout
        address = process.stdout.readline().partition(" at ")[2].partition(";")[0]
        with Client(address) as client:
            assert eventually(lambda: len(list(client.workers())) == 2, PATIENCE)
            assert all(worker.labels == {"room": "attic", "owner": "anna"} for worker in client.workers())
            job = client.submit(["a red circle"] * 20, steps=2, pin=Pin(worker_labels={"room": "attic"}))
            assert job.wait() is JobState.SUCCEEDED
            workers = {image.worker for page in job.list_images() for image in page}
        assert workers <= {"workers/local-1", "workers/local-2"}
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
    finally:
        process.kill()
    assert eventually(lambda: not processes_that_name(str(tmp_path)))
