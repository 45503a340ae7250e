"""What becomes of a pipeline process when the process that started it is no more, or is interrupted in a terminal."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from farm.worker.device_lock import DeviceLock
from tests.waiting import eventually

HANGS_FOR = 120
"""Seconds of sleep that an orphan is in when it becomes one."""


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FARM_LOCKS", str(tmp_path))
    return tmp_path


@contextmanager
def farm_of_one(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    farm = subprocess.Popen(
        [sys.executable, "-m", "tests.worker.farm_of_one", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield farm
    finally:
        farm.kill()
        farm.communicate()


def wait_for_line(farm: subprocess.Popen[str], line: str, times: int = 1) -> None:
    assert farm.stdout is not None
    for said in farm.stdout:
        times -= said.strip() == line
        if times == 0:
            return
    raise AssertionError(f"it ended without saying {line!r}")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not yet waited for does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def child_of(farm: subprocess.Popen[str], locks: Path) -> int:
    holder = DeviceLock("cpu", locks).holder()
    assert holder is not None
    assert holder.pid != farm.pid
    return holder.pid


def is_gone(pid: int, locks: Path) -> bool:
    """Whether the process ends, and the device can be taken, before what it was told to do is over."""
    lock = DeviceLock("cpu", locks)
    return eventually(lambda: not is_alive(pid) and lock.try_acquire(), HANGS_FOR / 2)


@pytest.mark.parametrize("script", [f"sleep {HANGS_FOR} at 1", "hold 0.9 at each"])
def test_an_orphan_ends_at_once_and_frees_the_device(locks: Path, script: str) -> None:
    with farm_of_one(script) as farm:
        wait_for_line(farm, "StageReport Stage.DENOISE")
        child = child_of(farm, locks)
        farm.kill()
        assert is_gone(child, locks)


def test_an_idle_orphan_ends_at_once(locks: Path) -> None:
    with farm_of_one("") as farm:
        wait_for_line(farm, "AttemptReport")
        child = child_of(farm, locks)
        farm.kill()
        assert is_gone(child, locks)


def test_an_orphan_that_hangs_with_the_gil_held_ends_at_its_deadline(locks: Path) -> None:
    with farm_of_one(f"hold {HANGS_FOR} at 90", "2") as farm:
        wait_for_line(farm, "StepReport", times=89)
        child = child_of(farm, locks)
        farm.kill()
        assert is_gone(child, locks)


def test_an_interrupt_of_the_whole_terminal_leaves_the_child_to_its_host(locks: Path) -> None:
    with farm_of_one("sleep 0.2 at each") as farm:
        wait_for_line(farm, "StageReport Stage.DENOISE")
        child = child_of(farm, locks)
        os.killpg(farm.pid, signal.SIGINT)
        wait_for_line(farm, "interrupted")
        wait_for_line(farm, "StepReport")
        assert is_alive(child)
