"""How long it takes until the images of a worker that is lost can be given to others.

Real processes on this machine: a coordinator, two workers, Ray between them, a batch that goes on throughout. A worker
is killed, or stopped so that it is silent: measured is the time until the coordinator gives its attempts up, from when
on they are placed again. A worker whose Ray node is killed renders on and loses nothing, so nothing of it is placed
again: measured is the longest time, from then on, in which no image of that worker is committed.
"""

import argparse
import contextlib
import itertools
import json
import os
import signal
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import report
from farm.client import Client
from tests.ray.batch import logged_at
from tests.ray.fleet import SECONDS_PER_IMAGE, Fleet, kill, running_fleet
from tests.waiting import eventually

WORKER_KILLED_GOAL = 1.0
NODE_KILLED_GOAL = 3.0
SILENT_GOAL = 8.0
WATCHED_SECONDS = 20.0
"""After a node was killed; Ray itself takes 14 s to notice."""

IMAGES = 20_000
COMPARED_WITH = f"an image every {SECONDS_PER_IMAGE} s a worker; leases of 6 s; Ray alone: 14 s and 64 s"


def seconds_until_given_up(fleet: Fleet, lose: Callable[[], None]) -> float:
    """From `lose` until the coordinator logs that it gave an attempt up."""
    before = fleet.log("coordinator").count("attempt.abandoned")
    began = time.time()
    lose()
    assert eventually(lambda: fleet.log("coordinator").count("attempt.abandoned") > before)
    lines = [line for line in fleet.log("coordinator").splitlines() if "attempt.abandoned" in line]
    return logged_at(lines[before]) - began


def worker_killed(fleet: Fleet) -> float:
    """Kills a worker's daemon, and starts it again afterwards."""
    worker = fleet.workers["one"]
    seconds = seconds_until_given_up(fleet, worker.kill)
    worker.wait()
    fleet.start_worker("one")
    return seconds


def worker_silent(fleet: Fleet) -> float:
    """Stops a worker's daemon, and wakes it again afterwards."""
    pid = fleet.workers["one"].pid
    seconds = seconds_until_given_up(fleet, lambda: os.kill(pid, signal.SIGSTOP))
    os.kill(pid, signal.SIGCONT)
    return seconds


def node_killed(fleet: Fleet) -> float:
    """Kills a worker's Ray node; the longest time without an image of that worker."""
    began = time.time()
    kill(fleet.part(fleet.workers["one"], r"raylet/raylet "))
    time.sleep(WATCHED_SECONDS)
    with contextlib.closing(sqlite3.connect(fleet.state / "journal.sqlite3", timeout=30)) as sql:
        results = [json.loads(body) for (body,) in sql.execute("SELECT body FROM results WHERE state = 'SUCCEEDED'")]
    times = sorted(r["time"] for r in results if r["worker_id"] == "one" and r["time"] > began)
    moments: list[float] = [began, *times, time.time()]
    return max(later - earlier for earlier, later in itertools.pairwise(moments))


FIGURES: dict[str, tuple[Callable[[Fleet], float], float]] = {
    "worker_killed_until_given_up": (worker_killed, WORKER_KILLED_GOAL),
    "node_killed_longest_pause": (node_killed, NODE_KILLED_GOAL),
    "worker_silent_until_given_up": (worker_silent, SILENT_GOAL),
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder, running_fleet(Path(folder)) as fleet:
        with Client(fleet.address) as client:
            job = client.submit(["a red circle"] * IMAGES, steps=4)
        for figure, (measure, goal) in FIGURES.items():
            seconds = []
            for _ in range(repeats):
                fleet.wait_until_whole()
                time.sleep(2.0)
                seconds.append(measure(fleet))
            report(
                "detection",
                figure,
                round(statistics.median(seconds), 3),
                "s",
                goal,
                compared_with=COMPARED_WITH,
                repeats=repeats,
                spread=round(max(seconds) - min(seconds), 3),
            )
        with Client(fleet.address) as client:
            client.job(job.name).cancel()


if __name__ == "__main__":
    main()
