"""Harm of every kind, done to a fleet at random moments."""

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from farm.client import Client
from farm.errors import WorkerNotFoundError
from farm.v1 import worker_pb2
from tests.disks import filled
from tests.ray.fleet import Fleet, kill, kill_tree, parts

BEYOND_A_LEASE = 8.0
DOWN_SECONDS = 1.5


def worker_killed(fleet: Fleet, name: str) -> bool:
    was_alive = is_alive(fleet.workers[name])
    fleet.workers[name].kill()
    fleet.workers[name].wait()
    time.sleep(DOWN_SECONDS)
    fleet.start_worker(name)
    return was_alive


def mac_killed(fleet: Fleet, name: str) -> bool:
    was_alive = is_alive(fleet.workers[name])
    kill_tree(fleet.workers[name].pid)
    fleet.workers[name].wait()
    time.sleep(DOWN_SECONDS)
    fleet.start_worker(name)
    return was_alive


def worker_told_to_stop(fleet: Fleet, name: str) -> bool:
    was_alive = is_alive(fleet.workers[name])
    fleet.workers[name].terminate()
    fleet.workers[name].wait()
    fleet.start_worker(name)
    return was_alive


def worker_suspended(fleet: Fleet, name: str) -> bool:
    worker = fleet.workers[name]
    worker.send_signal(signal.SIGSTOP)
    time.sleep(BEYOND_A_LEASE)
    was_stopped = is_alive(worker)
    worker.send_signal(signal.SIGCONT)
    return was_stopped


def bridge_killed(fleet: Fleet, name: str) -> bool:
    return kill_part(fleet, name, r"ray::Bridge")


def raylet_killed(fleet: Fleet, name: str) -> bool:
    return kill_part(fleet, name, r"raylet/raylet ")


def pipeline_killed(fleet: Fleet, _: str) -> bool:
    return kill_part(fleet, "scripted", r"farm\.worker\.pipeline_process")


def pipeline_hung(fleet: Fleet, _: str) -> bool:
    return kill_part(fleet, "scripted", r"farm\.worker\.pipeline_process", signal.SIGSTOP)


def worker_drained(fleet: Fleet, name: str) -> bool:
    return drain_for_a_while(fleet, name, now=False)


def worker_drained_at_once(fleet: Fleet, name: str) -> bool:
    return drain_for_a_while(fleet, name, now=True)


def drain_for_a_while(fleet: Fleet, name: str, *, now: bool) -> bool:
    with Client(fleet.address) as client, suppress(WorkerNotFoundError):  # it is not back since the coordinator died
        drained = client.drain(name, now=now)
        time.sleep(DOWN_SECONDS)
        client.resume_worker(name)
        return drained.state == worker_pb2.WORKER_STATE_DRAINING
    return False


def disk_filled(fleet: Fleet, _: str) -> bool:
    small = [name for name in fleet.workers if os.path.ismount(fleet.folder(name))]
    if not small:  # or else this machine's own disk would be filled
        return False
    met_before = fleet.log(small[0]).count("outbox.not_written")
    with filled(fleet.folder(small[0])):
        time.sleep(DOWN_SECONDS)
    return fleet.log(small[0]).count("outbox.not_written") > met_before


def driver_killed(fleet: Fleet, _: str) -> bool:
    return kill_part(fleet, None, r"ray_driver")


def head_killed(fleet: Fleet, _: str) -> bool:
    return kill_part(fleet, None, r"gcs_server ")


def coordinator_killed(fleet: Fleet, _: str) -> bool:
    was_alive = is_alive(fleet.coordinator)
    fleet.coordinator.kill()
    fleet.coordinator.wait()
    time.sleep(DOWN_SECONDS)
    fleet.start_coordinator()
    return was_alive


FAULTS: Mapping[str, Callable[[Fleet, str], bool]] = {
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


def is_alive(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has not ended by itself."""
    return process.poll() is None


def kill_part(fleet: Fleet, worker: str | None, command: str, how: signal.Signals = signal.SIGKILL) -> bool:
    """Kills a process below a worker, or below the coordinator if it is None; gives whether there was one."""
    owner = fleet.coordinator if worker is None else fleet.workers[worker]
    for pid in parts(owner, command)[:1]:
        with suppress(ProcessLookupError):
            kill(pid, how)
            return True
    return False


@dataclass(slots=True)
class Harm:
    """What was done to a fleet.

    Attributes:
        done: How often each fault took effect, by name.
        tried: How often it was chosen; some find nothing to harm, as what they kill is just starting again.
    """

    done: Counter[str] = field(default_factory=Counter)
    tried: Counter[str] = field(default_factory=Counter)


@contextmanager
def chaos(
    fleet: Fleet, seed: int, every_seconds: float, faults: Sequence[str], limit: int | None = None
) -> Iterator[Harm]:
    """Does harm at random moments until the block ends, one fault after another.

    Args:
        fleet: Suffers.
        seed: Repeats the choice of faults, victims and moments.
        every_seconds: From the end of one fault to the next, on average.
        faults: Names of the faults to choose from.
        limit: So many that take effect at most.
    """
    chance, is_over, harm = random.Random(seed), threading.Event(), Harm()

    def do_harm() -> None:
        while not is_over.wait(chance.uniform(0.5, 1.5) * every_seconds) and harm.done.total() != limit:
            fault, victim = chance.choice(faults), chance.choice(list(fleet.workers))
            harm.tried[fault] += 1
            harm.done[fault] += FAULTS[fault](fleet, victim)

    with ThreadPoolExecutor(1, "chaos") as thread:
        harming = thread.submit(do_harm)
        try:
            yield harm
        finally:
            is_over.set()
        harming.result()
