"""The progress of a job as it runs: a bar on a terminal, a line now and then elsewhere."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

from farm.cli.output import count_images, short_id
from farm.cli.waiting import told_when_still
from farm.client import Job
from farm.v1 import job_pb2, job_service_pb2

PLAIN_SECONDS = 5.0
"""Time between two lines where there is no terminal."""

TITLE_CHARACTERS = 24
"""Of a job's name beside its bar."""

WIDE = 110
"""Columns of a terminal where time and stage have room beside the bar, too."""


@dataclass(slots=True)
class Tally:
    """How far a job has come, by the events that were seen.

    Attributes:
        total: Images of the job.
        done: Images that are settled, and `failed`: those of them that failed.
        rate: Images an hour since watching began; 0 before the first.
        eta: When the job is expected to end, in seconds since the epoch; 0 if that is not known.
        note: What is being done: "loading the model", "step 7 of 20".
        stage: The same, if it comes before the first step; else empty.
        moved: When an image was finished or a step taken, in seconds since the epoch.
    """

    total: int = 0
    done: int = 0
    failed: int = 0
    rate: float = 0.0
    eta: float = 0.0
    note: str = ""
    stage: str = ""
    moved: float = 0.0
    _began: float = 0.0
    _done_before: int = 0

    def begin(self, job: job_pb2.Job, now: float) -> None:
        """Starts to count; what was done before does not tell of the rate."""
        self._take(job)
        self._began, self._done_before = now, self.done
        self.moved = now

    def see(self, event: job_service_pb2.JobEvent, now: float) -> None:
        """Takes in an event."""
        match event.WhichOneof("event"):
            case "job":
                self._take(event.job)
            case "image":
                self.note, self.stage, self.moved = "", "", now
            case "progress":
                self._see_step(event.progress, now)
        rendered = self.done - self._done_before
        if rendered and now > self._began:
            self.rate = 3600 * rendered / (now - self._began)

    def _take(self, job: job_pb2.Job) -> None:
        self.total = job.image_count
        self.done = job.succeeded_count + job.failed_count
        self.failed = job.failed_count
        self.eta = job.eta.likely.seconds if job.HasField("eta") else 0.0

    def _see_step(self, progress: job_pb2.Progress, now: float) -> None:
        self.stage = _STAGES.get(progress.stage, "")
        self.note = self.stage or f"step {progress.step} of {progress.step_count}"
        if not self.stage:
            self.moved = now

    def remaining_seconds(self, now: float) -> float | None:
        """Time to the end: the farm's estimate, else by the rate, else unknown."""
        if self.total and self.done == self.total:
            return 0.0
        if self.eta:
            return max(0.0, self.eta - now)
        return 3600 * (self.total - self.done) / self.rate if self.rate else None


_STAGES = {"compile": "compiling the model", "load": "loading the model"}


def describe_rate(images_per_hour: float) -> str:
    """A rate in the unit that suits it."""
    if images_per_hour <= 0:
        return "- images/min"
    if images_per_hour < 60:
        return f"{images_per_hour:.1f} images/h"
    return f"{images_per_hour / 60:,.1f} images/min"


def describe_remaining(seconds: float | None) -> str:
    """A time to the end."""
    return "-:--:--" if seconds is None else str(timedelta(seconds=round(seconds)))


def describe_end_time(eta: job_pb2.Eta, since: float) -> str:
    """How long it takes to the end from a time (seconds since the epoch), and between what it probably lies."""
    ends = (end.ToNanoseconds() / 1e9 for end in (eta.earliest, eta.likely, eta.latest))
    earliest, likely, latest = (describe_remaining(max(0.0, end - since)) for end in ends)
    return f"{likely} ({earliest} to {latest})"


def shorten(title: str) -> str:
    """A title that leaves room for the figures beside it; a job's whole id still fits."""
    return title if len(title) <= TITLE_CHARACTERS else f"{title[: TITLE_CHARACTERS - 1]}…"


class _Display(Protocol):
    def show(self, tally: Tally, now: float) -> None: ...


class _Bar:
    """A bar that is drawn anew a few times a second."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._bar = progress.add_task(title, total=None, rate="", remaining="-:--:--", note="")

    def show(self, tally: Tally, now: float) -> None:
        self._progress.update(
            self._bar,
            total=tally.total,
            completed=tally.done,
            rate=describe_rate(tally.rate),
            remaining=describe_remaining(tally.remaining_seconds(now)),
            note=tally.note,
        )


class _Lines:
    """A line every few seconds, and one at the end."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._shown: tuple[float, int] = (0.0, -1)

    def show(self, tally: Tally, now: float) -> None:
        last, done = self._shown
        finished = tally.done == tally.total
        if done == tally.done or (now - last < PLAIN_SECONDS and not finished):
            return
        self._shown = (now, tally.done)
        failed = f", {tally.failed} failed" if tally.failed else ""
        self._console.print(
            f"{self._title}: {tally.done} of {count_images(tally.total)}{failed}, {describe_rate(tally.rate)}, "
            f"{describe_remaining(tally.remaining_seconds(now))} left",
        )


@contextmanager
def _display(console: Console, title: str) -> Iterator[_Display]:
    if not console.is_terminal:
        yield _Lines(console, title)
        return
    columns: list[ProgressColumn] = [
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("[progress.download]{task.completed}/{task.total}"),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[remaining]} left"),
    ]
    if console.width >= WIDE:
        columns += [TimeElapsedColumn(), TextColumn("{task.fields[note]}", style="dim", markup=False)]
    with Progress(*columns, console=console, expand=True) as progress:
        yield _Bar(progress, shorten(title))


def _teller(console: Console, title: str) -> Callable[[str], None]:
    """Prints each reason once; above the bar, where there is one, since the line beside it is too short for reasons."""
    told: set[str] = set()

    def tell(reason: str) -> None:
        kind = re.sub(r"\d+", "", reason)  # a reason whose numbers change is still the same
        if kind not in told:
            told.add(kind)
            console.print(f"{title}: {reason}")

    return tell


def follow(job: Job, console: Console) -> None:
    """Shows a job's progress until it ends, and why, while there is none."""
    title = job.message.display_name or short_id(job.name)
    tally = Tally()
    tally.begin(job.message, time.time())
    with _display(console, title) as display:
        display.show(tally, time.time())
        with told_when_still(job, lambda: tally.moved, lambda: tally.stage, _teller(console, title)):
            for event in job.watch():
                tally.see(event, time.time())
                display.show(tally, time.time())
