"""Harm of every kind, done to a fleet at random moments."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from farm.client import Client
from farm.errors import WorkerNotFoundError
from tests.disks import filled
from tests.ray.fleet import Fleet, kill, kill_tree, parts

BEYOND_A_LEASE = 8.0
DOWN_SECONDS = 1.5


def worker_killed(fleet: Fleet, name: str) -> None:
    fleet.workers[name].kill()
    fleet.workers[name].wait()
    time.sleep(DOWN_SECONDS)
    fleet.start_worker(name)


def mac_killed(fleet: Fleet, name: str) -> None:
    kill_tree(fleet.workers[name].pid)
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
        client.resume_worker(name)


def disk_filled(fleet: Fleet, _: str) -> None:
    small = [fleet.folder(name) for name in fleet.workers if os.path.ismount(fleet.folder(name))]
    if small:  # or else this machine's own disk would be filled
        with filled(small[0]):
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
        mac_killed,
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


@contextmanager
def chaos(
    fleet: Fleet, seed: int, every_seconds: float, faults: Sequence[str], limit: int | None = None
) -> Iterator[Counter[str]]:
    """Does harm at random moments until the block ends, one fault after another; counts them by name.

    Args:
        fleet: Suffers.
        seed: Repeats the choice of faults, victims and moments.
        every_seconds: From the end of one fault to the next, on average.
        faults: Names of the faults to choose from.
        limit: So many at most.
    """
    chance, is_over, done = random.Random(seed), threading.Event(), Counter[str]()

    def harm() -> None:
        while not is_over.wait(chance.uniform(0.5, 1.5) * every_seconds) and done.total() != limit:
            fault, victim = chance.choice(faults), chance.choice(list(fleet.workers))
            FAULTS[fault](fleet, victim)
            done[fault] += 1

    with ThreadPoolExecutor(1, "chaos") as thread:
        harming = thread.submit(harm)
        try:
            yield done
        finally:
            is_over.set()
        harming.result()
