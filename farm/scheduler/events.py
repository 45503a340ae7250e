"""Everything that changes the farm, as facts.

Durable events are journalled before anybody is told of them. Volatile ones are applied and forgotten: a replay comes
out right without them. Times are seconds since the Unix epoch, by the coordinator's clock.
"""

from dataclasses import dataclass
from typing import get_args

from farm.domain import (
    AttemptKey,
    AttemptState,
    AttentionVariant,
    ComputeUnit,
    JobSpec,
    JobState,
    Measurement,
    Provenance,
    Resident,
    WorkerFacts,
)
from farm.reports import Stage
from farm.scheduler.plan import Plan
from farm.scheduler.ranges import Range
from farm.scheduler.trouble import Loss


@dataclass(frozen=True, slots=True)
class JobOpened:
    """A job became live: it was accepted, or one that had ended is to be tried again.

    The event says all that the live state needs, so that what was known of a job before it ended can be folded away.

    Attributes:
        spec: As accepted, defaults complete but for the prompt.
        image_count: Images in the job.
        pending: Runs of images that are to be rendered.
        succeeded_count: Images that were committed before.
        next_attempt_number: Numbers below it were used before.
        create_time: When the job was first accepted.
        evaluations: How often the UNet is evaluated for an image, the mean of all images, as entries may name their own
            steps and sampler; 0 for what the job's defaults say, in older journals.
    """

    job_id: str
    time: float
    spec: JobSpec
    submitter: str
    priority: int
    image_count: int
    pending: tuple[Range, ...]
    succeeded_count: int
    next_attempt_number: int
    create_time: float
    evaluations: int = 0


@dataclass(frozen=True, slots=True)
class JobPaused:
    """Nothing new of the job is to be started.

    Attributes:
        reason: On whose behalf, in words.
        waits_for_room: Whether it is paused by the farm itself, until there is room on the disk.
    """

    job_id: str
    time: float
    reason: str
    waits_for_room: bool = False


@dataclass(frozen=True, slots=True)
class JobResumed:
    """The job may run again."""

    job_id: str
    time: float


@dataclass(frozen=True, slots=True)
class JobPrioritized:
    """The job's priority changed."""

    job_id: str
    time: float
    priority: int


@dataclass(frozen=True, slots=True)
class JobCancelled:
    """The job is to end; it has ended when its last attempt has."""

    job_id: str
    time: float
    reason: str


@dataclass(frozen=True, slots=True)
class JobEnded:
    """Every image of the job is settled, or the job was cancelled and nothing of it runs any more.

    The event says all that is remembered of how the job went.
    """

    job_id: str
    time: float
    state: JobState
    reason: str
    succeeded_count: int
    failed_count: int
    start_time: float | None
    next_attempt_number: int
    losses: tuple[Loss, ...]


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """A run of images was placed on a worker.

    Attributes:
        number: Of the attempt, within the job: its fencing token.
        task_number: Number of the task's first attempt; equal to `number` unless a running task is duplicated.
        first_index: First image of the task.
        image_count: Images in the task, settled ones included.
        model_digest: Model variant to render with.
        compute_unit: Processors to use.
        attention: How the variant's attention is written.
    """

    job_id: str
    time: float
    number: int
    task_number: int
    worker_id: str
    first_index: int
    image_count: int
    model_digest: str
    compute_unit: ComputeUnit
    attention: AttentionVariant


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An attempt is over; its unsettled images wait again, unless another attempt has them too.

    Attributes:
        state: SUCCEEDED, ABANDONED or CANCELLED.
        reason: Why, in words.
        index: The image that was being rendered when the renderer died, if one was.
        worker_id: As it started, like what follows: so that whoever is told of its end knows what ended. Journals of
            before version 2 do not have these three.
        first_index: First image of its run.
        image_count: Images of its run.
    """

    job_id: str
    time: float
    number: int
    state: AttemptState
    reason: str
    index: int | None = None
    worker_id: str = ""
    first_index: int = 0
    image_count: int = 0


@dataclass(frozen=True, slots=True)
class ImageCommitted:
    """An image is on disk under the name of its attempt, and from now on is the one that counts.

    Attributes:
        evaluations: How often the UNet was evaluated for it; 0 where the worker or an older journal does not say.
        denoise_seconds: The part of `render_seconds` that its steps took; 0 where nobody says.
    """

    job_id: str
    time: float
    number: int
    index: int
    worker_id: str
    sha256: str
    size_bytes: int
    provenance: Provenance
    render_seconds: float
    notes: tuple[str, ...] = ()
    evaluations: int = 0
    denoise_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ImageFailed:
    """An image failed by its own fault.

    Attributes:
        is_final: Whether it is out of tries and stays failed; otherwise it waits again.
    """

    job_id: str
    time: float
    number: int
    index: int
    worker_id: str
    reason: str
    message: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class WorkerSetAside:
    """A worker gets nothing of the job any more, since it failed images that others rendered.

    Attributes:
        reason: Why, in words.
    """

    job_id: str
    time: float
    worker_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerDrained:
    """The worker is to finish what it has and take nothing new; with `now`, to give back what it has."""

    worker_id: str
    time: float
    now: bool


@dataclass(frozen=True, slots=True)
class WorkerUndrained:
    """The worker may take work again, also of the jobs that it was set aside for."""

    worker_id: str
    time: float


@dataclass(frozen=True, slots=True)
class WorkerJoined:
    """Volatile. A worker is there.

    Attributes:
        attempts: The attempts it still holds. Whatever else the state thinks it runs is lost.
    """

    worker_id: str
    time: float
    facts: WorkerFacts
    attempts: frozenset[AttemptKey] = frozenset()


@dataclass(frozen=True, slots=True)
class WorkerChanged:
    """Volatile. What a worker that is there can do has changed; what it renders goes on."""

    worker_id: str
    facts: WorkerFacts


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """Volatile. A heartbeat: renews the lease on all that the worker holds."""

    worker_id: str
    time: float


@dataclass(frozen=True, slots=True)
class WorkerLeft:
    """Volatile. The worker is gone, or has been silent for longer than its lease (`is_silent`)."""

    worker_id: str
    time: float
    reason: str
    is_silent: bool = False


@dataclass(frozen=True, slots=True)
class WorkerSuspended:
    """Volatile. The worker cannot work now and `reason` says why, or it can again and `reason` is empty."""

    worker_id: str
    time: float
    reason: str


@dataclass(frozen=True, slots=True)
class ResidentsChanged:
    """Volatile. These variants are loaded on the worker now, and no others."""

    worker_id: str
    time: float
    residents: tuple[Resident, ...]


@dataclass(frozen=True, slots=True)
class VariantMeasured:
    """Volatile. A worker found something out about a variant: what it takes there, or that it cannot be rendered so.

    It is kept by the worker, which says it again when it joins.
    """

    worker_id: str
    measurement: Measurement


@dataclass(frozen=True, slots=True)
class StageBegun:
    """Volatile. A worker began a stage of an attempt; `index` is None while a model is compiled or loaded."""

    key: AttemptKey
    stage: Stage
    index: int | None


@dataclass(frozen=True, slots=True)
class StepDone:
    """Volatile. A worker finished a denoising step."""

    key: AttemptKey
    index: int
    step: int
    step_count: int


@dataclass(frozen=True, slots=True)
class ResultRefused:
    """Volatile. A worker delivered an image for an attempt that no longer counts."""

    job_id: str
    time: float
    number: int
    index: int
    worker_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Planned:
    """Volatile. `decide` has planned for all jobs and workers together, and follows it until the next plan."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class ClockJumped:
    """Volatile. The coordinator itself was away (stopped, asleep, restarted): silence until now proves nothing.

    Attributes:
        time: Now.
        heard: Workers that could be heard all the same.
    """

    time: float
    heard: frozenset[str] = frozenset()


JobEvent = (
    JobOpened
    | JobPaused
    | JobResumed
    | JobPrioritized
    | JobCancelled
    | JobEnded
    | AttemptStarted
    | AttemptEnded
    | ImageCommitted
    | ImageFailed
    | WorkerSetAside
)
DurableEvent = JobEvent | WorkerDrained | WorkerUndrained
VolatileEvent = (
    WorkerJoined
    | WorkerChanged
    | WorkerSeen
    | WorkerLeft
    | WorkerSuspended
    | ResidentsChanged
    | VariantMeasured
    | StageBegun
    | StepDone
    | ResultRefused
    | ClockJumped
    | Planned
)
Event = DurableEvent | VolatileEvent

DURABLE: tuple[type[DurableEvent], ...] = get_args(DurableEvent)
"""The durable events' classes."""
