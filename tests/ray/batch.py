"""A batch under way on a fleet: what it takes to follow it to its end, and to judge what came of it."""

import contextlib
import json
import re
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from farm.client import Client
from farm.domain import ImageSpec, JobState, Pin
from tests.audit.check import Finding, audit
from tests.ray.fleet import PATIENCE, committed
from tests.ray.pace import Pace
from tests.waiting import eventually

SILENCE = "not heard of"
"""In the reason of each attempt that was lost because a lease ended."""

TOO_SLOW = 8.0
"""How slow a machine must have been, by its pace, for a worker's silence to be the machine's doing and no defect.

On two processors a fleet alone keeps it at about 2, and a load of 13 at about 6, with 12 at worst: nobody was silent.
"""


class Farm(Protocol):
    """What renders a batch: a fleet."""

    @property
    def address(self) -> str:
        """Where it listens."""

    @property
    def state(self) -> Path:
        """Its state folder."""

    @property
    def pace(self) -> Pace:
        """How slow this machine is meanwhile."""

    def log(self, name: str) -> str:
        """What one of its processes has logged so far."""


class Batch:
    """A batch under way, and what the coordinator logs meanwhile.

    Args:
        fleet: Renders it.
        folder: Takes the file that is submitted and the images that are pulled.
        images: How many.
        prompt: Of each, by index.
        pin: Where it may run.
        begun: With how many images committed the constructor returns.
    """

    def __init__(
        self,
        fleet: Farm,
        folder: Path,
        images: int = 160,
        prompt: Callable[[int], str] = "number {}".format,
        pin: Pin | None = None,
        begun: int | None = None,
    ) -> None:
        self._fleet = fleet
        self._folder = folder
        self._log_before = len(fleet.log("coordinator"))
        entries = [ImageSpec(prompt=prompt(index), steps=4, seed=index * 7) for index in range(images)]
        lines = (json.dumps({"prompt": e.prompt, "steps": e.steps, "seed": e.seed}) for e in entries)
        (folder / "batch.jsonl").write_text("\n".join(lines))
        with Client(fleet.address) as client:
            self.name = client.submit(entries, pin=pin).name
        self.job_id = self.name.removeprefix("jobs/")
        self.wait_for_images(images // 8 if begun is None else begun)

    def committed(self) -> dict[int, tuple[str, int]]:
        """Hash and attempt number of every committed image, by index."""
        return committed(self._fleet.state, self.job_id)

    def wait_for_images(self, count: int) -> None:
        """Waits until so many images are committed."""
        enough = eventually(lambda: len(self.committed()) >= count, PATIENCE)
        assert enough, f"the batch does not go on: {self._fleet.log('coordinator')[-5000:]}"

    def wait_for_end(self, seconds: float = PATIENCE) -> None:
        """Waits until the job has ended, by the journal."""
        assert eventually(self._has_ended, seconds), f"it does not end: {self._fleet.log('coordinator')[-5000:]}"

    def _has_ended(self) -> bool:
        with contextlib.closing(sqlite3.connect(self._fleet.state / "journal.sqlite3", timeout=PATIENCE)) as sql:
            (state,) = sql.execute("SELECT state FROM jobs WHERE job_id = ?", (self.job_id,)).fetchone()
        return state is not None

    def finish(self, failed: int = 0) -> None:
        """Waits for the end; every image must count once, but for those that are to have failed."""
        self.wait_for_end()
        with Client(self._fleet.address) as client:
            job = client.job(self.name)
            assert (job.state, job.message.failed_count) == (JobState.SUCCEEDED, failed)
            explained = {attempt.number: attempt.reason for attempt in job.explain().lost_attempts}
        assert self.lost_numbers() <= explained.keys(), (
            "explain does not know of every attempt that the log says was lost"
        )
        assert all(explained.values()), "an attempt was lost without a reason"
        self.pull()
        # A file that was refused late is removed just after that.
        assert eventually(lambda: not self.findings()), "\n".join(map(str, self.findings()))

    def pull(self) -> None:
        """Fetches the images."""
        with Client(self._fleet.address) as client:
            client.job(self.name).download(self._folder / "out")

    def findings(self) -> list[Finding]:
        """What the audit finds wrong."""
        state = self._fleet.state
        return audit(
            state / "journal.sqlite3",
            self.job_id,
            self._folder / "batch.jsonl",
            self._folder / "out",
            state / "images" / self.job_id,
        )

    def log(self) -> str:
        """What the coordinator has logged since the batch began."""
        return self._fleet.log("coordinator")[self._log_before :]

    def lost_but_for(self, *reasons: str) -> list[str]:
        """The story of each attempt that was lost for another reason.

        Silence is another reason, too, unless the machine had no time for the worker to speak.
        """
        others = [line for line in self.lost_attempts() if not any(reason in line for reason in reasons)]
        log = self.log().splitlines()
        return [line for line in others if not had_no_time_to_speak(line, log, self._fleet.pace)]

    def lost_numbers(self) -> set[int]:
        """Number of each attempt that was lost."""
        return {int(number) for line in self.lost_attempts() for number in re.findall(r" attempt=(\d+) ", line)}

    def lost_attempts(self) -> list[str]:
        """The story of each attempt that was lost, as the coordinator's log has it."""
        lines = [line for line in self.log().splitlines() if "attempt.abandoned" in line]
        return [line for line in lines if self.job_id in line]


def had_no_time_to_speak(lost: str, log: Sequence[str], pace: Pace) -> bool:
    """Whether a worker was silent because its machine was too slow, or the coordinator stood still itself.

    Args:
        lost: The line about an attempt that was lost.
        log: What else the coordinator logged.
        pace: How slow the machine was.
    """
    silent = re.search(rf"{SILENCE} for (\d+) s", lost)
    if silent is None:
        return False
    until = logged_at(lost)
    since = until - int(silent[1]) - 1
    stood_still = [logged_at(line) for line in log if "loop.clock_jumped" in line]
    return any(since <= time <= until for time in stood_still) or pace.slowness(since, until) >= TOO_SLOW


def logged_at(line: str) -> float:
    """When a line was logged, in seconds since the epoch."""
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()
