"""Kills real processes with SIGKILL in the middle of a real batch, at random moments, and starts them again.

Looks at the outcome with nothing of the farm: SQLite, the files, hashlib.
"""

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.client import Client
from farm.domain import ImageSpec, JobState
from tests.ray.fleet import committed
from tests.waiting import PATIENCE

IMAGES = 40


class FarmProcess:
    """`farm coordinator` as a user would run it, on the bundled model and this machine's device."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._log = state.parent / "farm.log"
        self.address = f"unix:{state.parent}/farm.sock"
        self.start()

    def start(self) -> None:
        command = ["coordinator", "--address", self.address, "--state", str(self._state), "--stop-with-stdin", "--json"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "farm", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # A lock of the test's own: another farm on this machine must not hold it up.
                env={**os.environ, "FARM_LOCKS": str(self._state.parent)},
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline(), self._log.read_text()

    def renderers(self) -> list[int]:
        """Process ids of the coordinator's children that hold models."""
        table = subprocess.check_output(["ps", "-axo", "pid=,ppid=,args="], text=True)
        processes = [line.split(maxsplit=2) for line in table.splitlines()]
        return [
            int(pid)
            for pid, parent, args in processes
            if int(parent) == self.process.pid and "pipeline_process" in args
        ]

    def kill_renderer(self) -> None:
        (renderer,) = self.renderers()  # whatever was rendered a moment ago came from it
        os.kill(renderer, signal.SIGKILL)

    def kill_coordinator(self) -> None:
        self.process.kill()
        self.process.wait()
        self.start()

    def kill_both(self) -> None:
        renderers = self.renderers()
        self.process.kill()
        for pid in renderers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.start()

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(PATIENCE)


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[FarmProcess]:
    process = FarmProcess(tmp_path / "state")
    try:
        yield process
    finally:
        process.process.kill()
        process.process.wait()


def kill_at_random_until_done(farm: FarmProcess, state: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    victims = [farm.kill_renderer, farm.kill_coordinator, farm.kill_both]
    with Client(farm.address) as client:
        prompts = [f"a red circle on a white background, number {index}" for index in range(IMAGES)]
        job = client.submit([ImageSpec(prompt=prompt) for prompt in prompts], steps=6, seed=1)
        before: dict[int, tuple[str, int]] = {}
        for round_number in range(kills):
            wait_for_progress(state, len(before))
            time.sleep(chance.uniform(0.0, 0.4))
            victims[round_number % len(victims)]()
            now = committed(state)
            assert before.items() <= now.items(), "an image that was committed was rendered again, or is gone"
            before = now
        job.wait()
        assert job.state is JobState.SUCCEEDED
        assert before.items() <= committed(state).items()


def wait_for_progress(state: Path, count: int) -> None:
    """Waits until an image more than `count` is committed, or all are."""
    deadline = time.monotonic() + PATIENCE
    while len(committed(state)) < min(count + 1, IMAGES):
        assert time.monotonic() < deadline, "the batch does not go on"
        time.sleep(0.02)


def check_outcome(state: Path) -> None:
    images = committed(state)
    assert sorted(images) == list(range(IMAGES))
    files = {path.name: path for path in (state / "images").rglob("*") if path.is_file()}
    assert set(files) == {f"{index:08d}-{number}.png" for index, (_, number) in images.items()}, "a file too many"
    for index, (sha256, number) in images.items():
        assert hashlib.sha256(files[f"{index:08d}-{number}.png"].read_bytes()).hexdigest() == sha256


def test_a_batch_survives_the_death_of_the_coordinator_the_renderer_and_both(farm: FarmProcess, tmp_path: Path) -> None:
    kill_at_random_until_done(farm, tmp_path / "state", kills=6, seed=1)
    farm.stop()
    farm.start()  # what a crash left half-done is tidied at the next start
    farm.stop()
    check_outcome(tmp_path / "state")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_batches_survive_many_deaths(farm: FarmProcess, tmp_path: Path, seed: int) -> None:
    kill_at_random_until_done(farm, tmp_path / "state", kills=12, seed=seed)
    farm.stop()
    farm.start()
    farm.stop()
    check_outcome(tmp_path / "state")
