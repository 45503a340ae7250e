"""A file of a million prompts, by the command line into a coordinator: how long, how much memory, who has to wait.

Meanwhile another connection asks for two jobs again and again, as a program that waits for them does: one that has
ended, which is read from the journal, and one that is live, which is read from the state.
"""

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path

from benchmarks.report import report
from farm.batch import read_batch
from farm.cli.demo import farm_process, read_address
from farm.client import Client

PROMPTS = 1_000_000
SECONDS_GOAL = 60.0
MEMORY_GOAL = 300.0
P99_GOAL = 100.0

ASK_EVERY_SECONDS = 0.02
WEIGH_EVERY_SECONDS = 0.25

WORDS = (
    "a",
    "red",
    "green",
    "blue",
    "large",
    "small",
    "circle",
    "square",
    "star",
    "triangle",
    "on",
    "above",
    "left of",
)


def write_batch(path: Path, count: int) -> None:
    """Writes so many different prompts, 100 bytes a line."""
    rng = random.Random(0)
    with path.open("w", encoding="ascii") as file:
        for number in range(count):
            prompt = f"{number} {' '.join(rng.choices(WORDS, k=16))}"
            file.write(json.dumps({"prompt": prompt[:70].ljust(70, "."), "seed": number}).ljust(99) + "\n")


def seconds_to_read(path: Path) -> float:
    """How long it takes to read the file and do nothing with it."""
    started = time.perf_counter()
    for _ in read_batch(path):
        pass
    return time.perf_counter() - started


def memory(pid: int) -> float:
    """Megabytes that a process has in memory."""
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])) / 1024


@dataclass(slots=True)
class Bystander:
    """Asks a farm for jobs, and looks at its memory, until told to stop."""

    address: str
    pid: int
    names: list[str]
    milliseconds: list[float] = field(default_factory=list)
    peak: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        """Measures the calls."""
        with Client(self.address) as client:
            jobs = cycle([client.job(name) for name in self.names])
            while not self.stop.wait(ASK_EVERY_SECONDS):
                started = time.perf_counter()
                next(jobs).refresh()
                if not self.stop.is_set():
                    self.milliseconds.append(1000 * (time.perf_counter() - started))

    def weigh(self) -> None:
        """Measures the memory."""
        while not self.stop.wait(WEIGH_EVERY_SECONDS):
            self.peak = max(self.peak, memory(self.pid))


def percentile(values: list[float], share: float) -> float:
    """The value that so large a share of `values` does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def main() -> None:
    """Measures and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    count = parser.parse_args().prompts
    with tempfile.TemporaryDirectory() as folder, farm_process(Path(folder), null_renderer=True) as process:
        batch = Path(folder) / "batch.jsonl"
        write_batch(batch, count)
        bare = seconds_to_read(batch)
        address = read_address(process, Path(folder))
        with Client(address) as client:
            ended, live = client.submit("a red circle"), client.submit(["a red circle"] * 10_000)
            ended.wait()
            live.pause()
        before = memory(process.pid)
        bystander = Bystander(address, process.pid, [ended.name, live.name])
        command = [sys.executable, "-m", "farm", "submit", str(batch), "--address", address, "--json"]
        with ThreadPoolExecutor(2) as threads:
            measuring = [threads.submit(measure) for measure in (bystander.ask, bystander.weigh)]
            try:
                started = time.perf_counter()
                accepted = json.loads(subprocess.check_output(command))
                seconds = time.perf_counter() - started
            finally:
                bystander.stop.set()
            for measured in measuring:
                measured.result()  # a call that failed counts for more than those that were quick
        process.kill()
    assert accepted["image_count"] == count
    tell = partial(report, "submit")
    tell("seconds", round(seconds, 2), "s", SECONDS_GOAL, compared_with=f"reading the file alone, {bare:.2f} s")
    tell(
        "coordinator_memory_growth", round(bystander.peak - before), "MB", MEMORY_GOAL, compared_with=f"{before:.0f} MB"
    )
    p99 = percentile(bystander.milliseconds, 0.99)
    p50 = percentile(bystander.milliseconds, 0.5)
    tell(
        "get_job_p99",
        round(p99, 1),
        "ms",
        P99_GOAL,
        compared_with=f"median {p50:.1f} ms",
        repeats=len(bystander.milliseconds),
    )


if __name__ == "__main__":
    main()
