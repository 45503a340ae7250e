"""A fleet of real processes on this machine, for tests that kill them: `farm coordinator --engine ray` and workers."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from farm.cli.local_fleet import free_ray_address
from farm.client import Client
from farm.v1 import worker_pb2
from tests.ray.odd_worker import Oddity
from tests.ray.pace import Pace
from tests.waiting import eventually

SECONDS_PER_IMAGE = 0.05
PATIENCE = 300.0
"""Seconds. Ray is up within 5 on a quiet machine; it takes minutes where nodes of other fleets start, one at a time."""

TWO_WORKERS: Mapping[str, Oddity | None] = {"one": None, "two": None}


@dataclass(frozen=True, slots=True)
class Process:
    """A line of the table of processes."""

    pid: int
    parent: int
    command: str


def processes() -> list[Process]:
    """Every process of this machine that has not ended."""
    table = subprocess.check_output(["ps", "-axwwo", "pid=,ppid=,stat=,args="], text=True)
    rows = [line.split(maxsplit=3) for line in table.splitlines()]
    return [Process(int(row[0]), int(row[1]), row[3]) for row in rows if len(row) == 4 and not row[2].startswith("Z")]


def descendants(pid: int) -> list[Process]:
    """A process's children, their children and so on."""
    found: list[Process] = []
    parents, everybody = {pid}, processes()
    while parents:
        children = [process for process in everybody if process.parent in parents]
        found += children
        parents = {process.pid for process in children}
    return found


class Fleet:
    """A coordinator and workers, each a `farm` process; the renderer needs no device, its bytes are real.

    Args:
        folder: State, folders of workers and logs are in it.
        workers: Names of the workers, and what is odd about each.
    """

    def __init__(self, folder: Path, workers: Mapping[str, Oddity | None]) -> None:
        self._folder = folder
        self.pace = Pace(folder / "pace.log")
        self._oddities = dict(workers)
        self.state = folder / "state"
        self.ray_address = free_ray_address()
        self.address = free_ray_address()
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.start_coordinator()
        for name in workers:
            self.start_worker(name)

    def start_coordinator(self) -> None:
        options = ["--address", self.address, "--state", self.state, "--engine", "ray", "--stop-with-stdin"]
        options += ["--ray-address", self.ray_address]
        self.coordinator = self._start("coordinator", "farm", "coordinator", *options)
        assert eventually(self._answers, PATIENCE), self.log("coordinator")

    def start_worker(self, name: str) -> None:
        options = ["--name", name, "--folder", self.folder(name), "--ray-address", self.ray_address]
        options += ["--state", self.state, "--null-seconds", SECONDS_PER_IMAGE]
        if (oddity := self._oddities[name]) is None:
            command = ["farm", "worker", "run", "--null-renderer", "--stop-with-stdin"]
        else:
            command = ["tests.ray.odd_worker", oddity.value]
        self.workers[name] = self._start(name, *command, *options)

    def add_worker(self, name: str, oddity: Oddity | None) -> None:
        """Starts one more."""
        self._oddities[name] = oddity
        self.start_worker(name)

    def revive(self) -> None:
        """Starts again what a test that failed has left dead, so that the next one fails for its own reasons only."""
        if self.coordinator.poll() is not None:
            self.start_coordinator()
        for name, process in self.workers.items():
            if process.poll() is not None:
                self.start_worker(name)

    def folder(self, worker: str) -> Path:
        """What a worker keeps."""
        return self._folder / worker

    def kept(self, worker: str) -> list[Path]:
        """Files of what a worker has finished and nobody has taken, in order."""
        return sorted((self.folder(worker) / "outbox").glob("*.report"))

    def _start(self, name: str, *command: object) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        with contextlib.suppress(Exception), Client(self.address) as client:
            list(client.workers())
            return True
        return False

    def log(self, name: str) -> str:
        """What a process has logged so far."""
        return (self._folder / f"{name}.log").read_text()

    def active(self) -> set[str]:
        """Names of the workers that can take work."""
        with Client(self.address) as client:
            active = [w for w in client.workers() if w.state == worker_pb2.WORKER_STATE_ACTIVE]
            return {worker.name.removeprefix("workers/") for worker in active}

    def wait_until_whole(self) -> None:
        """Waits until every worker can take work, over a node of its own that lives."""
        assert eventually(lambda: self.active() == set(self.workers), PATIENCE), self.log("coordinator")

    def part(self, owner: subprocess.Popen[bytes], command: str) -> int:
        """Process id of what runs below a process and has such a command line."""
        found: list[int] = []

        def look() -> bool:
            found[:] = parts(owner, command)
            return bool(found)

        assert eventually(look), f"nothing runs {command}"
        return found[0]

    def stop(self) -> None:
        """Stops everything in order."""
        end(*self.workers.values(), self.coordinator)


@contextlib.contextmanager
def running_fleet(folder: Path, workers: Mapping[str, Oddity | None] = TWO_WORKERS) -> Iterator[Fleet]:
    """Runs a fleet until the block ends."""
    fleet = Fleet(folder, workers)
    try:
        fleet.wait_until_whole()
        with fleet.pace.measured():
            yield fleet
    finally:
        fleet.stop()


def end(*processes: subprocess.Popen[bytes]) -> None:
    """Has processes stop in order, all at a time, and waits for that."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    for process in processes:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def parts(owner: subprocess.Popen[bytes], command: str) -> list[int]:
    """Process ids of all that runs below a process and has such a command line."""
    return [p.pid for p in descendants(owner.pid) if re.search(command, p.command)]


def kill(pid: int, how: signal.Signals = signal.SIGKILL) -> None:
    """As the system does when memory runs out, if nothing else is said."""
    os.kill(pid, how)


def kill_tree(pid: int) -> None:
    """A process and all below it at once, as when a machine loses its power."""
    for victim in (pid, *(process.pid for process in descendants(pid))):
        with contextlib.suppress(ProcessLookupError):  # its parent's death may have ended it already
            kill(victim)


def committed(state: Path, job_id: str = "%") -> dict[int, tuple[str, int]]:
    """Hash and attempt number of every committed image of a job, by index; without its id, of the only one."""
    with contextlib.closing(sqlite3.connect(state / "journal.sqlite3", timeout=PATIENCE)) as sql:
        query = "SELECT idx, body FROM results WHERE state = 'SUCCEEDED' AND job_id LIKE ?"
        rows = sql.execute(query, (job_id,)).fetchall()
    return {index: (json.loads(body)["sha256"], json.loads(body)["number"]) for index, body in rows}
