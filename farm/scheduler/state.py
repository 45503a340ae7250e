"""The state of the farm: what is live, and nothing that is over.

An image of a live job is in exactly one place: among its job's `pending` ranges, in the `remaining` set of one running
task, or counted as succeeded or failed. It leaves a task only by being settled, or by going back to `pending` when the
task's last attempt ends. That is why none is lost, and none committed twice. Only `farm.scheduler.transitions` changes
what is here.
"""

from dataclasses import dataclass, field

from farm.domain import AttemptKey, JobSpec, JobState, WorkerFacts, WorkerState
from farm.errors import JobNotFoundError, StaleAttemptError, WorkerNotFoundError
from farm.reports import Stage
from farm.scheduler import events as ev
from farm.scheduler.cost import Rates
from farm.scheduler.ranges import RangeSet

LEASE_SECONDS = 6.0
"""A worker that is silent for so long loses what it holds. Workers send a heartbeat every 2 s."""

DEPTH = 2
"""Attempts that a worker holds at most: what it renders and what comes next, so that it never waits for the next."""


@dataclass(slots=True)
class Task:
    """A run of images that are placed together, and what of it is unsettled.

    Attributes:
        number: Number of its first attempt.
        remaining: Images that are neither committed nor failed for good.
        attempts: Numbers of its live attempts: one, or two when its tail is duplicated.
    """

    number: int
    remaining: set[int]
    attempts: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Attempt:
    """A live attempt, and the last thing that was heard of it.

    Attributes:
        failed: Images that failed in it. A report of one may come twice, and costs one try.
    """

    started: ev.AttemptStarted
    task: Task
    stage: Stage | None = None
    index: int | None = None
    step: int = 0
    step_count: int = 0
    failed: set[int] = field(default_factory=set)

    @property
    def key(self) -> AttemptKey:
        """Its name and fencing token."""
        return AttemptKey(self.started.job_id, self.started.number)


@dataclass(slots=True)
class LiveJob:
    """A job that has not ended.

    Attributes:
        pending: Images that wait.
        waits_for_room: Whether the farm itself paused it because the disk is full.
        attempts: Live attempts by number.
        strikes: How often each image failed by its own fault.
        crashes: How often the renderer died over each image.
    """

    job_id: str
    spec: JobSpec
    submitter: str
    priority: int
    image_count: int
    pending: RangeSet
    succeeded_count: int
    next_attempt_number: int
    create_time: float
    state: JobState = JobState.PENDING
    reason: str = ""
    waits_for_room: bool = False
    start_time: float | None = None
    failed_count: int = 0
    attempts: dict[int, Attempt] = field(default_factory=dict)
    strikes: dict[int, int] = field(default_factory=dict)
    crashes: dict[int, int] = field(default_factory=dict)

    @property
    def is_runnable(self) -> bool:
        """Whether images of it may be started now."""
        return self.state in (JobState.PENDING, JobState.RUNNING) and len(self.pending) > 0

    @property
    def is_settled(self) -> bool:
        """Whether nothing runs and nothing will: it is to end."""
        nothing_waits = len(self.pending) == 0 or self.state is JobState.CANCELLING
        return nothing_waits and not self.attempts


@dataclass(slots=True)
class Worker:
    """A worker that the farm knows. Its state follows from what was said of it; it is never set.

    Attributes:
        facts: What it said of itself; None until it joins (a journal may name it before).
        is_present: Whether it joined and was heard of within its lease.
        absence: Why it is not present.
        is_drained: Whether an administrator drained it. Outlives the worker's coming and going.
        suspension: Why it cannot work now; empty when it can.
        last_seen: When it was heard of last.
        attempts: What it holds, oldest first: the first is what it renders.
    """

    worker_id: str
    facts: WorkerFacts | None = None
    is_present: bool = False
    absence: str = "has not joined since the coordinator started"
    is_drained: bool = False
    suspension: str = ""
    last_seen: float = 0.0
    resident_models: tuple[str, ...] = ()
    attempts: list[AttemptKey] = field(default_factory=list)

    @property
    def state(self) -> WorkerState:
        """Where it is in its life."""
        if not self.is_present:
            return WorkerState.OFFLINE
        if self.is_drained:
            return WorkerState.DRAINING
        return WorkerState.SUSPENDED if self.suspension else WorkerState.ACTIVE

    @property
    def has_place(self) -> bool:
        """Whether it takes another attempt now."""
        return self.state is WorkerState.ACTIVE and len(self.attempts) < DEPTH

    @property
    def reason(self) -> str:
        """Why, in words; empty when it is ACTIVE."""
        reasons = {
            WorkerState.OFFLINE: self.absence,
            WorkerState.DRAINING: "drained by an administrator",
            WorkerState.SUSPENDED: self.suspension,
        }
        return reasons.get(self.state, "")


@dataclass(slots=True)
class FarmState:
    """All that the scheduler knows.

    Attributes:
        jobs: Live jobs by id.
        workers: Known workers by id.
        rates: What was learned of their speed.
        running_counts: Live attempts by submitter.
        runnable: Jobs of which images may be started now. Like all that follows, an index: it is derived from the jobs
            and workers, and kept so that a decision costs nothing for those that it does not concern.
        vacant: Workers that take another attempt now.
        settled: Live jobs of which nothing runs and nothing will, in the order they got there; `decide` ends them.
        lost: Live attempts that their worker does not hold any more, and why; `decide` ends them.
        heard: When each worker under a lease was heard of last, the longest silent first.
    """

    jobs: dict[str, LiveJob] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    rates: Rates = field(default_factory=Rates)
    running_counts: dict[str, int] = field(default_factory=dict)
    runnable: dict[str, None] = field(default_factory=dict)
    vacant: dict[str, None] = field(default_factory=dict)
    settled: dict[str, None] = field(default_factory=dict)
    lost: dict[AttemptKey, str] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)

    def job(self, job_id: str) -> LiveJob:
        """The live job of that id.

        Raises:
            JobNotFoundError: None is live under it.
        """
        try:
            return self.jobs[job_id]
        except KeyError:
            raise JobNotFoundError(f'No live job "{job_id}".', job=job_id) from None

    def worker(self, worker_id: str) -> Worker:
        """The worker of that id.

        Raises:
            WorkerNotFoundError: The farm has never heard of it.
        """
        try:
            return self.workers[worker_id]
        except KeyError:
            raise WorkerNotFoundError(
                f'No worker "{worker_id}". `farm workers` lists those that there are.', worker=worker_id
            ) from None

    def attempt(self, key: AttemptKey) -> Attempt:
        """The live attempt of that key.

        Raises:
            StaleAttemptError: It has ended, or never was: whatever comes of it does not count.
        """
        job = self.jobs.get(key.job_id)
        attempt = job.attempts.get(key.number) if job else None
        if attempt is None:
            raise StaleAttemptError(
                f"Attempt {key.number} of job {key.job_id} does not count any more.",
                job=key.job_id,
                attempt=str(key.number),
            )
        return attempt
