"""The room that the journal keeps for the moment when there is none."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.coordinator.artifacts import ArtifactStore, Stored
from farm.coordinator.journal import Journal
from farm.coordinator.journal_reader import JournalReader
from farm.coordinator.reserve import RESERVE_BYTES, Reserve, reserve_bytes
from farm.errors import DiskFullError
from farm.scheduler import events as ev
from tests.builders import job_opened
from tests.disks import filled, small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 16) as disk:
        yield disk


def append(journal: Journal, first: int, stop: int) -> None:
    """Writes events of some length, each for itself."""
    for sequence in range(first, stop):
        journal.append([(sequence, ev.JobPaused("j", 1.0, "because of this and that " * 40))])


def test_what_happens_on_a_disk_without_a_free_byte_is_written_where_the_reserve_was(disk: Path) -> None:
    journal = Journal(disk / "journal.sqlite3")
    journal.append([(1, job_opened())])
    journal.reserve.hold()
    with filled(disk, leaving=0):
        append(journal, 2, 20)
        assert not journal.reserve.is_held
        assert JournalReader(disk / "journal.sqlite3").sequence() == 19
        with pytest.raises(DiskFullError):
            append(journal, 20, 10_000)
        journal.reserve.hold()
        assert not journal.reserve.is_held, "there is no room to be held"
    journal.reserve.hold()
    assert journal.reserve.is_held


def test_images_leave_the_room_that_the_journal_needs(disk: Path) -> None:
    store = ArtifactStore(disk / "images")
    path = store.path("j", 0, 1)
    with filled(disk, leaving=reserve_bytes(disk) // 2):
        (refused,) = store.store([(path, b"image")])
        assert isinstance(refused, OSError)
        assert refused.errno == errno.ENOSPC
        assert not path.exists()
    (stored,) = store.store([(path, b"image")])
    assert isinstance(stored, Stored)


def test_a_reserve_takes_what_it_says_and_gives_it_back(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve")
    assert not reserve.release()
    reserve.hold()
    reserve.hold()
    assert (tmp_path / "reserve").stat().st_size == reserve_bytes(tmp_path) <= RESERVE_BYTES
    assert reserve.release()
    assert not (tmp_path / "reserve").exists()
