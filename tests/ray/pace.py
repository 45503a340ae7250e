"""How slow this machine is, moment by moment, as a process of its own finds it: what tells silence from a defect.

A worker whose machine gives it no time falls silent through no fault of its own. Load averages tell of the last minute
and not of the last lease, and nothing of time that a host takes from a virtual machine. So somebody does, four times a
second, what a worker does when it says that it lives: sleeps, wakes, and computes for a moment.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PERIOD_SECONDS = 0.25
WORK_SECONDS = 0.01
"""Of processor time, in each period."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What was measured, as it is written.

    Attributes:
        log: A line for each period: when it ended, in seconds since the epoch; the seconds by which it woke late and
            for which it worked; and those of processor time that it worked.
    """

    log: Path

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measures until the block ends."""
        with self.log.open("w") as log:
            process = subprocess.Popen([sys.executable, "-m", "tests.ray.pace"], stdout=log)
        try:
            yield
            assert process.poll() is None, "nobody measures any more: every silence would be excused"
        finally:
            process.kill()
            process.wait()

    def slowness(self, since: float, until: float) -> float:
        """How many times as long as on a machine of its own a process took in a span; infinite if it never ran.

        Args:
            since: Begin of the span, in seconds since the epoch.
            until: Its end.
        """
        periods = [tuple(map(float, line.split())) for line in self.log.read_text().splitlines()]
        within = [(took, worked) for end, took, worked in periods if since <= end <= until]
        worked = sum(worked for _, worked in within)
        return sum(took for took, _ in within) / worked if worked else float("inf")


def measure() -> None:
    """Writes a line for each period to standard output, as long as the process that asked for it lives."""
    asker = os.getppid()
    while os.getppid() == asker:
        began = time.monotonic()
        time.sleep(PERIOD_SECONDS)
        woken, processor = time.monotonic(), time.thread_time()
        while (worked := time.thread_time() - processor) < WORK_SECONDS:
            pass
        took = time.monotonic() - began - min(PERIOD_SECONDS, woken - began)
        print(time.time(), took, worked, flush=True)


if __name__ == "__main__":
    measure()
