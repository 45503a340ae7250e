"""The state of the farm: what is live, and nothing that is over.

An image of a live job is in exactly one place: among its job's `pending` ranges, in the `remaining` set of one running
task, or counted as succeeded or failed. It leaves a task only by being settled, or by going back to `pending` when the
task's last attempt ends. That is why none is lost, and none committed twice. Only `farm.scheduler.transitions` changes
what is here.
"""

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from farm.domain import (
    AttemptKey,
    ComputeUnit,
    JobSpec,
    JobState,
    Pin,
    Resident,
    WorkerFacts,
    WorkerState,
    evaluation_count,
)
from farm.errors import JobNotFoundError, StaleAttemptError, WorkerNotFoundError
from farm.reports import Stage
from farm.scheduler import events as ev
from farm.scheduler.cost import Rates, Sample
from farm.scheduler.forecast import Forecasts
from farm.scheduler.groups import DEPTH, Group, Place
from farm.scheduler.plan import GroupKey, Plan
from farm.scheduler.ranges import RangeSet
from farm.scheduler.trouble import Loss, Standing, Trouble

LEASE_SECONDS = 6.0
"""A worker that is silent for so long loses what it holds. Workers send a heartbeat every 2 s."""

MAX_LOSSES = 50
"""Lost attempts of a job that are remembered, the newest."""


@dataclass(slots=True)
class Task:
    """A run of images that are placed together, and what of it is unsettled.

    Attributes:
        number: Number of its first attempt.
        remaining: Images that are neither committed nor failed for good.
        attempts: Numbers of its live attempts: one, or more at the tail of its job.
    """

    number: int
    remaining: set[int]
    attempts: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Attempt:
    """A live attempt, and the last thing that was heard of it.

    Attributes:
        since: When its current image, or the load before it, began, as far as that can be told: what it needs was
            loaded then, or its last image or the attempt before it on the same worker ended.
        failed: Images that failed in it. A report of one may come twice, and costs one try.
    """

    started: ev.AttemptStarted
    task: Task
    since: float
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
class Kind:
    """What decides where an image can be rendered and how long it takes: live jobs that share it are placed as one.

    Attributes:
        number: Names it; never used again.
        model: Name of the model.
        width: Width in pixels.
        height: Height in pixels.
        steps: How often the UNet is evaluated for an image: for most samplers once a step, the mean of a job's images.
        pin: Where it may run.
        jobs: Live jobs of this kind.
        unsettled: Their images that are neither committed nor failed for good.
        waiting: Those of them that may be started now.
    """

    number: int
    model: str
    width: int
    height: int
    steps: int
    pin: Pin
    jobs: dict[str, None] = field(default_factory=dict)
    unsettled: int = 0
    waiting: int = 0

    @property
    def work(self) -> float:
        """Work in one image, in megapixel-steps: the currency of fair shares, whatever machine renders it."""
        return self.steps * self.width * self.height / 1e6

    @property
    def key(self) -> Hashable:
        """Equal for equal kinds."""
        pin = self.pin
        labels = tuple(sorted(pin.worker_labels.items()))
        pinned = (pin.chip_class, pin.compute_unit, pin.attention, pin.runtime, pin.model_digest, labels)
        return (self.model, self.width, self.height, self.steps, pinned)


@dataclass(slots=True)
class LiveJob:
    """A job that has not ended.

    Attributes:
        kind: What it shares with other jobs.
        counted: Images of it that its kind counts as waiting.
        last_start: When an image of it was started last, or it became live: it ages from then.
        pending: Images that wait.
        waits_for_room: Whether the farm itself paused it because the disk is full.
        attempts: Live attempts by number.
        troubles: What images that are not settled have been through.
        standings: Workers that failed images of it.
        losses: Its newest attempts that were lost, and why.
        forecasts: By checkpoint: when its end was foretold, and for when; `farm.scheduler.forecast` learns from them.
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
    kind: Kind
    last_start: float
    counted: int = 0
    state: JobState = JobState.PENDING
    reason: str = ""
    waits_for_room: bool = False
    start_time: float | None = None
    failed_count: int = 0
    attempts: dict[int, Attempt] = field(default_factory=dict)
    troubles: dict[int, Trouble] = field(default_factory=dict)
    standings: dict[str, Standing] = field(default_factory=dict)
    losses: deque[Loss] = field(default_factory=lambda: deque(maxlen=MAX_LOSSES))
    forecasts: dict[int, tuple[float, float]] = field(default_factory=dict)

    @property
    def is_active(self) -> bool:
        """Whether it is neither paused nor being cancelled."""
        return self.state in (JobState.PENDING, JobState.RUNNING)

    @property
    def is_runnable(self) -> bool:
        """Whether images of it may be started now."""
        return self.is_active and len(self.pending) > 0

    @property
    def settled_part(self) -> float:
        """How much of it is done, 0 to 1."""
        return 1.0 - self.unsettled / self.image_count

    @property
    def unsettled(self) -> int:
        """Images that are neither committed nor failed for good."""
        return self.image_count - self.succeeded_count - self.failed_count

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
        image_seconds: What its images took lately, smoothed; 0 before the first.
        samples: What its last images took, by digest and compute unit, as long as it has not joined.
        residents: What it has loaded.
        machine: Number of the sort of machine it is; workers that share it differ by their pace only.
        place: Where the index of rate groups has it.
        failing: Live jobs of which it failed images, and how it stands with each.
    """

    worker_id: str
    facts: WorkerFacts | None = None
    is_present: bool = False
    absence: str = "has not joined since the coordinator started"
    is_drained: bool = False
    suspension: str = ""
    last_seen: float = 0.0
    residents: tuple[Resident, ...] = ()
    attempts: list[AttemptKey] = field(default_factory=list)
    image_seconds: float = 0.0
    samples: dict[tuple[str, ComputeUnit], Sample] = field(default_factory=dict)
    machine: int = 0
    place: Place | None = None
    failing: dict[str, Standing] = field(default_factory=dict)

    @property
    def state(self) -> WorkerState:
        """Where it is in its life."""
        if not self.is_present:
            return WorkerState.OFFLINE
        if self.is_drained:
            return WorkerState.DRAINING
        return WorkerState.SUSPENDED if self.suspension else WorkerState.ACTIVE

    @property
    def reason(self) -> str:
        """Why, in words; when it is ACTIVE, for which jobs it is set aside, or nothing."""
        asides = (f"set aside for job {job_id}: {one.aside}" for job_id, one in self.failing.items() if one.aside)
        reasons = {
            WorkerState.ACTIVE: "; ".join(asides),
            WorkerState.OFFLINE: self.absence,
            WorkerState.DRAINING: "drained by an administrator",
            WorkerState.SUSPENDED: self.suspension,
        }
        return reasons[self.state]


@dataclass(slots=True)
class Account:
    """A submitter with live jobs.

    Attributes:
        job_count: Those live jobs.
        served: Work that was placed for it, in megapixel-steps; counted from the least that others had when it came.
        takes_part: Whether a job of it ran or could have run when the newest plan was made.
    """

    job_count: int = 0
    served: float = 0.0
    takes_part: bool = False


@dataclass(slots=True)
class FarmState:
    """All that the scheduler knows.

    Attributes:
        jobs: Live jobs by id.
        workers: Known workers by id.
        rates: What was learned of their speed.
        forecasts: How well ends of jobs were foretold.
        accounts: Submitters with live jobs.
        plan: What `decide` last planned.
        is_stale: Whether something has happened since that a plan must know.
        kinds: Kinds of live jobs. Like all that follows, an index: it is derived from the jobs and workers, and kept so
            that a decision costs nothing for those that it does not concern.
        kind_count: Kinds that there ever were.
        machines: Number of each sort of machine.
        residencies: Number of each set of variants that workers have loaded, or will have.
        labels: Keys of worker labels that pins of live jobs ask for, and how many jobs do.
        groups: Rate groups of the ACTIVE workers.
        vacant: Groups with workers that hold 0, 1, ... attempts and take another one.
        runnable: Jobs of which images may be started now.
        settled: Live jobs of which nothing runs and nothing will, in the order they got there; `decide` ends them.
        lost: Live attempts that their worker does not hold any more, and why; `decide` ends them.
        beaten: Live attempts whose every image another attempt has settled; `decide` ends them.
        heard: When each worker under a lease was heard of last, the longest silent first.
        culprits: Jobs and workers that are to be set aside for them; `decide` does, if others are left.
    """

    jobs: dict[str, LiveJob] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    rates: Rates = field(default_factory=Rates)
    forecasts: Forecasts = field(default_factory=Forecasts)
    accounts: dict[str, Account] = field(default_factory=dict)
    plan: Plan | None = None
    is_stale: bool = False
    kinds: dict[Hashable, Kind] = field(default_factory=dict)
    kind_count: int = 0
    machines: dict[Hashable, int] = field(default_factory=dict)
    residencies: dict[tuple[Resident, ...], int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    groups: dict[GroupKey, Group] = field(default_factory=dict)
    vacant: tuple[dict[GroupKey, None], ...] = field(default_factory=lambda: tuple({} for _ in range(DEPTH)))
    runnable: dict[str, None] = field(default_factory=dict)
    settled: dict[str, None] = field(default_factory=dict)
    lost: dict[AttemptKey, str] = field(default_factory=dict)
    beaten: dict[AttemptKey, None] = field(default_factory=dict)
    heard: dict[str, float] = field(default_factory=dict)
    culprits: dict[tuple[str, str], None] = field(default_factory=dict)

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
                f'No worker "{worker_id}". `farm workers` lists the existing ones.', worker=worker_id
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


def kind_of(spec: JobSpec, evaluations: int = 0) -> Kind:
    """What kind of job that is; without a number, which it has once it is live.

    Args:
        spec: The job's.
        evaluations: Of the UNet for an image, the mean of all images; 0 for what the job's defaults say.
    """
    size = (spec.defaults.width or 0, spec.defaults.height or 0)
    return Kind(0, spec.model, *size, evaluations or evaluation_count(spec.defaults), spec.pin)


def known_workers(state: FarmState) -> Iterator[tuple[str, WorkerFacts]]:
    """Gives every worker that has joined since the coordinator started, there or not, and what it is."""
    return ((worker.worker_id, worker.facts) for worker in state.workers.values() if worker.facts is not None)
