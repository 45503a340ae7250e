"""What is kept of a run while it goes on: little, so that a million images cost no memory."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from farm.domain import ChipClass
from farm.scheduler import events as ev
from farm.scheduler.forecast import Eta
from farm.scheduler.state import LiveJob
from farm.simulator.mac import Mac

BIN_SECONDS = 10.0
"""Width of a bin of throughput."""

WORK_BIN_SECONDS = 600.0
"""Width of a bin of submitters' work."""


@dataclass(frozen=True, slots=True)
class Span:
    """A time of a Mac's, and what came of it.

    Attributes:
        mac: Its number.
        start: Seconds after the start of the run.
        stop: Likewise.
        job_id: Whose.
        use: An "image" that was committed; a "load", with compiling; or an image that was "lost": cut short, refused,
            failed, or later than another Mac's.
    """

    mac: int
    start: float
    stop: float
    job_id: str
    use: Literal["image", "load", "lost"] = "image"


@dataclass(slots=True)
class JobRecord:
    """What became of a job; times in seconds after the start of the run."""

    submitter: str
    image_count: int
    create_time: float
    start_time: float | None = None
    end_time: float | None = None
    failed_count: int = 0
    quotes: list[Eta] = field(default_factory=list)


@dataclass(slots=True)
class Records:
    """A run's records.

    Attributes:
        keep_spans: Whether spans are kept.
        jobs: By id, in the order of submission.
        spans: The time of each image that was committed, if kept.
        overhead: The time of each load, and all that was lost; few against the images.
        bins: Images by class of chip and bin of time.
        work: Work in megapixel-steps by submitter and bin of time.
        unquoted: Live jobs whose end is to be foretold at the next plan: when new, and when half done.
        wasted: Images that came second.
        image_count: Images that were committed.
        last_commit: When the last image was committed.
    """

    keep_spans: bool = False
    jobs: dict[str, JobRecord] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    overhead: list[Span] = field(default_factory=list)
    bins: Counter[tuple[ChipClass, int]] = field(default_factory=Counter)
    work: dict[tuple[str, int], float] = field(default_factory=dict)
    unquoted: set[str] = field(default_factory=set)
    wasted: int = 0
    image_count: int = 0
    last_commit: float = 0.0

    def opened(self, event: ev.JobOpened) -> None:
        """Takes in a job."""
        self.jobs[event.job_id] = JobRecord(event.submitter, event.image_count, event.time)
        self.unquoted.add(event.job_id)

    def committed(self, mac: Mac, job: LiveJob, start: float, stop: float) -> None:
        """Takes in an image."""
        self.last_commit = stop
        self.image_count += 1
        mac.image_count += 1
        mac.busy_seconds += stop - start
        self.bins[mac.facts.chip_class, int(stop // BIN_SECONDS)] += 1
        place = (job.submitter, int(stop // WORK_BIN_SECONDS))
        self.work[place] = self.work.get(place, 0.0) + job.kind.work
        if job.succeeded_count == (job.image_count + 1) // 2 and job.image_count > 1:
            self.unquoted.add(job.job_id)
        if self.keep_spans:
            self.spans.append(Span(mac.number, start, stop, job.job_id))

    def unproductive(self, mac: Mac, task: str | None, start: float, stop: float, job_id: str) -> None:
        """Takes in time in which a Mac made nothing that counts: it was loading, or its image came to nothing."""
        if task in ("load", "image"):
            self.overhead.append(Span(mac.number, start, stop, job_id, "load" if task == "load" else "lost"))

    def quote(self, job_id: str, quote: Eta) -> None:
        """Takes in when a job was said to end."""
        self.jobs[job_id].quotes.append(quote)
        self.unquoted.discard(job_id)

    def ended(self, event: ev.JobEnded) -> None:
        """Takes in a job's end."""
        record = self.jobs[event.job_id]
        record.start_time, record.end_time, record.failed_count = event.start_time, event.time, event.failed_count
        self.unquoted.discard(event.job_id)
