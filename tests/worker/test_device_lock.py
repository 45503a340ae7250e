import fcntl
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from farm.worker.device_lock import DeviceLock, Holder
from tests.waiting import PATIENCE

HOLDER = """
import sys, pathlib, time
from farm.worker.device_lock import DeviceLock
lock = DeviceLock("gpu", pathlib.Path(sys.argv[1]))
print(lock.try_acquire(), flush=True)
time.sleep(60)
"""


def test_a_device_is_held_once(tmp_path: Path) -> None:
    first, second = DeviceLock("gpu", tmp_path), DeviceLock("gpu", tmp_path)
    assert first.try_acquire()
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire()


def test_different_devices_do_not_exclude_each_other(tmp_path: Path) -> None:
    assert DeviceLock("gpu", tmp_path).try_acquire()
    assert DeviceLock("cpu", tmp_path).try_acquire()


def test_the_file_says_who_holds_the_device_and_since_when(tmp_path: Path) -> None:
    lock = DeviceLock("gpu", tmp_path)
    assert lock.try_acquire()
    assert not DeviceLock("gpu", tmp_path).try_acquire(), "a try must not wipe the holder's name out"
    holder = DeviceLock("gpu", tmp_path).holder()
    assert holder is not None
    assert holder.pid == os.getpid()
    assert datetime.now(UTC) - holder.since < timedelta(minutes=1)


@pytest.mark.parametrize("content", [b"", b"12", b"x y", b"1 2 3", b"\xff\xfe", b"7 yesterday"])
def test_a_file_that_says_nothing_sensible_names_no_holder(tmp_path: Path, content: bytes) -> None:
    lock = DeviceLock("gpu", tmp_path)
    lock.path.write_bytes(content)
    assert lock.holder() is None


def test_a_shorter_entry_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    lock = DeviceLock("gpu", tmp_path)
    lock.path.write_text("99999999 2024-01-01T00:00:00+00:00 and more\n")
    assert lock.try_acquire()
    assert isinstance(lock.holder(), Holder)


def test_every_user_can_open_the_file_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        lock = DeviceLock("gpu", tmp_path)
        assert lock.try_acquire()
    finally:
        os.umask(umask)
    assert lock.path.stat().st_mode & 0o777 == 0o666


def test_a_link_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    lock = DeviceLock("gpu", tmp_path)
    lock.path.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        lock.try_acquire()
    assert victim.read_text() == "precious"


def test_a_lock_on_a_file_that_was_removed_meanwhile_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = DeviceLock("gpu", tmp_path)
    flock = fcntl.flock

    def flock_after_a_clean_up(descriptor: int, operation: int) -> None:
        lock.path.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_after_a_clean_up)
    assert not lock.try_acquire()
    monkeypatch.undo()
    assert lock.try_acquire()


def test_the_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_LOCKS", str(tmp_path))
    assert DeviceLock("gpu").path.parent == tmp_path


def test_the_lock_ends_with_its_holder_however_it_dies(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        lock = DeviceLock("gpu", tmp_path)
        assert not lock.try_acquire()
        named = lock.holder()
        assert named is not None
        assert named.pid == holder.pid
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
    deadline = time.monotonic() + PATIENCE
    while not lock.try_acquire():
        assert time.monotonic() < deadline
        time.sleep(0.01)
