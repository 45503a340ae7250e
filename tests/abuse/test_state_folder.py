"""State folders and ports that cannot be used: the coordinator says why in a paragraph and leaves all as it is."""

import os
import re
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from farm import Client, Job
from farm.domain import JobState
from farm.errors import DiskFullError
from tests.abuse.processes import CoordinatorProcess, coordinator, farm
from tests.disks import filled, small_disk
from tests.waiting import eventually

WAITS_FOR_ROOM = re.compile(r"(?i)it resumes by itself")
"""In each reason of a pause for lack of room: the guard's, and that of an image that met the full disk before it."""


def refused(state: Path, address: str = "127.0.0.1:0", before: tuple[str, ...] = ()) -> str:
    """What a coordinator says that does not start."""
    code, out, err = farm("coordinator", "--address", address, "--state", str(state), "--null-renderer", before=before)
    assert (code, out) == (1, "")
    assert "Error: " in err
    assert "Traceback" not in err
    return err.partition("Error: ")[2]


def test_a_state_folder_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    with coordinator(tmp_path / "state", "--null-renderer") as process, Client(process.address) as client:
        name = client.submit("a red circle").name
        client.job(name).wait()
    journal = tmp_path / "state" / "journal.sqlite3"
    with closing(sqlite3.connect(journal)) as sql:
        (version,) = sql.execute("PRAGMA user_version").fetchone()
        sql.execute("PRAGMA user_version = 9999")
    assert "of version 9999" in refused(tmp_path / "state")
    with closing(sqlite3.connect(journal)) as sql:
        sql.execute(f"PRAGMA user_version = {version}")
    with coordinator(tmp_path / "state", "--null-renderer") as process, Client(process.address) as client:
        assert client.job(name).state is JobState.SUCCEEDED


def test_a_journal_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    journal = tmp_path / "state" / "journal.sqlite3"
    journal.write_bytes(b"a render farm " * 1000)
    assert f"{journal} cannot be opened" in refused(tmp_path / "state")
    assert journal.read_bytes() == b"a render farm " * 1000


def test_a_port_in_use_is_refused_and_the_state_folder_is_free_again(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert f"Something listens on {address} already" in refused(tmp_path / "state", address)
    with coordinator(tmp_path / "state", "--null-renderer") as process, Client(process.address) as client:
        assert client.submit("a red circle").wait() is JobState.SUCCEEDED


def test_a_second_coordinator_on_a_state_folder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with coordinator(tmp_path / "state", "--null-renderer") as process, Client(process.address) as client:
        assert "Another coordinator uses the state folder" in refused(tmp_path / "state")
        assert client.submit("a red circle").wait() is JobState.SUCCEEDED


@pytest.mark.parametrize("journal_is_there", [False, True])
def test_a_state_folder_without_permission_is_refused_by_name(tmp_path: Path, journal_is_there: bool) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become another user, and does it with setpriv")
    state = tmp_path / "state"
    if journal_is_there:
        with coordinator(state, "--null-renderer"):
            pass
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert f"The state folder {state} cannot be used (Permission denied)" in refused(state, before=nobody)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 32) as disk:
        yield disk


@contextmanager
def working(state: Path, count: int, *options: str) -> Iterator[tuple[CoordinatorProcess, Job]]:
    """A farm in the middle of a job, which must have succeeded afterwards, every image of it."""
    with coordinator(state, *options) as process, Client(process.address) as client:
        job = client.submit(["a red circle"] * count, steps=4)
        assert eventually(lambda: job.refresh().message.succeeded_count > 4)
        yield process, job
        assert eventually(lambda: job.refresh().state is not JobState.PAUSED)
        assert job.wait() is JobState.SUCCEEDED
        assert {image.index for image in job.images() if image.sha256} == set(range(count))


def test_on_a_full_disk_jobs_pause_with_the_reason_and_go_on_by_themselves_when_there_is_room(disk: Path) -> None:
    with working(disk / "state", 100) as (process, job):
        with filled(disk, leaving=1 << 20), Client(process.address) as client:
            assert eventually(lambda: job.refresh().state is JobState.PAUSED)
            assert WAITS_FOR_ROOM.search(job.message.reason)
            with pytest.raises(DiskFullError, match=r"1 MB are kept.*it resumes by itself"):
                client.submit("a red circle")
        assert job.message.succeeded_count < 100


def test_a_farm_whose_disk_was_filled_to_the_last_byte_pauses_answers_and_goes_on(disk: Path) -> None:
    with working(disk / "state", 3000, "--null-renderer") as (process, job):
        for _ in range(2):  # the second time shows that the reserve was made anew
            with filled(disk, leaving=0):
                assert eventually(lambda: job.refresh().state is JobState.PAUSED)
                assert WAITS_FOR_ROOM.search(job.message.reason)
                for _ in range(20):
                    job.explain()  # a reader that waited for the disk would wait as long as it is full
                assert process.process.poll() is None
            assert eventually(lambda: job.refresh().state is not JobState.PAUSED)
