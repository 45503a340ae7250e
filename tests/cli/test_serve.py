"""`farm coordinator` and `farm up` as processes."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest

from farm import Client
from farm.domain import JobState
from tests.cli.processes import start_farm
from tests.running_farm import running_farm
from tests.waiting import PATIENCE


@contextmanager
def coordinator(state: Path, *arguments: object) -> Iterator[tuple[Popen[str], str]]:
    """A coordinator process and where it listens; killed at the end if it still runs."""
    options = ["--address", "127.0.0.1:0", "--state", state, "--null-renderer", "--json"]
    process = start_farm("coordinator", *options, *arguments)
    try:
        assert process.stdout
        yield process, json.loads(process.stdout.readline())["address"]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_coordinator_stops_in_order_when_it_is_told_to(tmp_path: Path, signal_number: signal.Signals) -> None:
    with coordinator(tmp_path / "state") as (process, address):
        with Client(address) as client:
            client.submit(["a"] * 1000)
        process.send_signal(signal_number)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "Traceback" not in err


def test_a_log_line_says_when_what_happened_and_to_whom(tmp_path: Path) -> None:
    with coordinator(tmp_path / "state") as (process, address):
        with Client(address) as client:
            job = client.submit("a")
            job.wait()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    assert re.search(rf"^\d{{4}}-\d\d-\d\d [\d:,]+ INFO job\.\w+ .*{job.name.removeprefix('jobs/')}", err, re.MULTILINE)


def test_a_coordinator_that_was_killed_goes_on_with_its_jobs_when_it_is_started_again(tmp_path: Path) -> None:
    with coordinator(tmp_path / "state") as (process, address), Client(address) as client:
        job = client.submit(["a"] * 300)
        next(job.images())
        process.kill()
        process.wait()
    with coordinator(tmp_path / "state") as (_, address), Client(address) as client:
        again = client.job(job.name)
        assert again.wait() is JobState.SUCCEEDED
        assert again.message.succeeded_count == 300


def test_a_coordinator_can_be_tied_to_the_life_of_its_parent(tmp_path: Path) -> None:
    with coordinator(tmp_path / "state", "--stop-with-stdin") as (process, _):
        assert process.stdin
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


def test_two_coordinators_cannot_share_a_state_folder(tmp_path: Path) -> None:
    with coordinator(tmp_path / "state"):
        second = start_farm("coordinator", "--address", "127.0.0.1:0", "--state", tmp_path / "state", "--null-renderer")
        _, err = second.communicate(timeout=PATIENCE)
    assert second.returncode == 1
    assert "Error: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("address", "says"),
    [("192.0.2.7:7433", "is not an address of this machine"), ("nonsense", "not an address to listen on")],
)
def test_an_address_that_cannot_be_is_told_in_a_paragraph(tmp_path: Path, address: str, says: str) -> None:
    process = start_farm("coordinator", "--address", address, "--state", tmp_path / "state", "--null-renderer")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, "")
    assert says in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["coordinator", "up"])
@pytest.mark.parametrize("address", ["127.0.0.1:0", "unix:{}/farm.sock"])
def test_an_address_that_is_taken_is_told_before_anything_is_started(
    tmp_path: Path, command: str, address: str
) -> None:
    """Rules out a second farm that loads its models, or takes a socket over, before it notices."""
    with running_farm(tmp_path / "first", address=address.format(tmp_path)) as running:
        second = start_farm(command, "--address", running.address, "--state", tmp_path / "second", "--null-renderer")
        out, err = second.communicate(timeout=PATIENCE)
        with Client(running.address) as client:
            assert client.submit("a").wait() is JobState.SUCCEEDED
    assert (second.returncode, out) == (1, "")
    assert f"Something listens on {running.address} already" in err
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("command", ["coordinator", "up"])
def test_a_program_is_told_where_the_farm_is(tmp_path: Path, command: str) -> None:
    state = tmp_path / "state"
    process = start_farm(command, "--address", "127.0.0.1:0", "--state", state, "--null-renderer", "--json")
    assert process.stdout
    told = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert (told["state"], told["addresses"]) == (str(state), [told["address"]])
    assert set(told) == {"address", "addresses", "ca_fingerprint", "state", "page"}


def test_the_first_screen_of_a_farm_says_where_it_is_and_how_to_use_it(tmp_path: Path) -> None:
    process = start_farm("up", "--address", "127.0.0.1:0", "--state", tmp_path / "state", "--null-renderer")
    assert process.stdout
    lines = [process.stdout.readline() for _ in range(6)]
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=PATIENCE)
    screen = "".join(lines) + rest
    assert process.returncode == 0, err
    assert "The farm is up at 127.0.0.1:" in screen
    assert str(tmp_path / "state") in screen
    assert "farm submit --address 127.0.0.1:" in screen
