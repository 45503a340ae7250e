"""Harm of every kind, done to a fleet at random moments."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

from farm.client import Client
from farm.errors import WorkerNotFoundError
from tests.ray.batch import Batch
from tests.ray.disks import filled, small_disk
from tests.ray.fleet import SECONDS_PER_IMAGE, Fleet, kill, parts, running_fleet
from tests.ray.odd_worker import Oddity

WORKERS: Mapping[str, Oddity | None] = {"one": None, "two": None, "three": None, "scripted": Oddity.SCRIPTED}
"""The last one has a pipeline process, whose pictures are noise."""

PROMPT = f"number {{}}, sleep {SECONDS_PER_IMAGE} at 1"
SMALL_DISK = "one"
BEYOND_A_LEASE = 8.0
DOWN_SECONDS = 1.5
LIMIT_SECONDS = 3600.0


def worker_killed(fleet: Fleet, name: str) -> None:
    fleet.workers[name].kill()
    fleet.workers[name].wait()
    time.sleep(DOWN_SECONDS)
    fleet.start_worker(name)


def worker_told_to_stop(fleet: Fleet, name: str) -> None:
    fleet.workers[name].terminate()
    fleet.workers[name].wait()
    fleet.start_worker(name)


def worker_suspended(fleet: Fleet, name: str) -> None:
    pid = fleet.workers[name].pid
    os.kill(pid, signal.SIGSTOP)
    time.sleep(BEYOND_A_LEASE)
    os.kill(pid, signal.SIGCONT)


def bridge_killed(fleet: Fleet, name: str) -> None:
    kill_part(fleet, name, r"ray::Bridge")


def raylet_killed(fleet: Fleet, name: str) -> None:
    kill_part(fleet, name, r"raylet/raylet ")


def pipeline_killed(fleet: Fleet, _: str) -> None:
    kill_part(fleet, "scripted", r"farm\.worker\.pipeline_process")


def pipeline_hung(fleet: Fleet, _: str) -> None:
    kill_part(fleet, "scripted", r"farm\.worker\.pipeline_process", signal.SIGSTOP)


def worker_drained(fleet: Fleet, name: str) -> None:
    drain_for_a_while(fleet, name, now=False)


def worker_drained_at_once(fleet: Fleet, name: str) -> None:
    drain_for_a_while(fleet, name, now=True)


def drain_for_a_while(fleet: Fleet, name: str, *, now: bool) -> None:
    with Client(fleet.address) as client, suppress(WorkerNotFoundError):  # it is not back since the coordinator died
        client.drain(name, now=now)
        time.sleep(DOWN_SECONDS)
        client.undrain(name)


def disk_filled(fleet: Fleet, _: str) -> None:
    if os.path.ismount(fleet.folder(SMALL_DISK)):  # or else this machine's own disk would be
        with filled(fleet.folder(SMALL_DISK)):
            time.sleep(DOWN_SECONDS)


def driver_killed(fleet: Fleet, _: str) -> None:
    kill_part(fleet, None, r"ray_driver")


def head_killed(fleet: Fleet, _: str) -> None:
    kill_part(fleet, None, r"gcs_server ")


def coordinator_killed(fleet: Fleet, _: str) -> None:
    fleet.coordinator.kill()
    fleet.coordinator.wait()
    time.sleep(DOWN_SECONDS)
    fleet.start_coordinator()


FAULTS: Mapping[str, Callable[[Fleet, str], None]] = {
    fault.__name__: fault
    for fault in (
        worker_killed,
        worker_told_to_stop,
        worker_suspended,
        bridge_killed,
        raylet_killed,
        pipeline_killed,
        pipeline_hung,
        worker_drained,
        worker_drained_at_once,
        disk_filled,
        driver_killed,
        head_killed,
        coordinator_killed,
    )
}


def kill_part(fleet: Fleet, worker: str | None, command: str, how: signal.Signals = signal.SIGKILL) -> None:
    """Kills a process below a worker, or below the coordinator if it is None; if it is not there, that is all right."""
    owner = fleet.coordinator if worker is None else fleet.workers[worker]
    for pid in parts(owner, command)[:1]:
        with suppress(ProcessLookupError):
            kill(pid, how)


class Chaos:
    """Does harm at random moments, until it is told to stop.

    Args:
        fleet: Suffers.
        seed: Repeats the choice of faults, victims and moments.
        every_seconds: From one fault to the next, on average.
        faults: Names of the faults to choose from.
        limit: So many at most.
    """

    def __init__(self, fleet: Fleet, seed: int, every_seconds: float, faults: Sequence[str], limit: int | None) -> None:
        self._fleet = fleet
        self._chance = random.Random(seed)
        self._every_seconds = every_seconds
        self._faults = faults
        self._limit = limit
        self._is_over = threading.Event()
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        """One fault after another; each is over before the next begins."""
        while not self._is_over.wait(self._chance.uniform(0.5, 1.5) * self._every_seconds):
            if self._limit is not None and self.done.total() >= self._limit:
                return
            fault, victim = self._chance.choice(self._faults), self._chance.choice(list(WORKERS))
            FAULTS[fault](self._fleet, victim)
            self.done[fault] += 1

    def stop(self) -> None:
        """No further fault begins."""
        self._is_over.set()


def run(
    folder: Path, images: int, seed: int, every_seconds: float, faults: Sequence[str], limit: int | None = None
) -> tuple[Batch, Counter[str], float]:
    """Renders a batch under faults; gives it, the faults by kind, and seconds from its submission to its end."""
    with ExitStack() as stack:
        stack.enter_context(small_disk(folder / SMALL_DISK))
        fleet = stack.enter_context(running_fleet(folder, WORKERS))
        batch = Batch(fleet, folder, images, PROMPT.format, begun=0)
        began = time.monotonic()
        chaos = Chaos(fleet, seed, every_seconds, faults, limit)
        with ThreadPoolExecutor(1, "chaos") as thread:
            doing = thread.submit(chaos.run)
            try:
                batch.wait_for_end(LIMIT_SECONDS)
                seconds = time.monotonic() - began
            finally:
                chaos.stop()
            doing.result()
        batch.pull()
    return batch, chaos.done, seconds
