"""What the coordinator shows of itself: plain facts for the API, the web page and the tests.

Times are seconds since the Unix epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from farm.domain import (
    AttemptState,
    ChipClass,
    ImageState,
    JobSpec,
    JobState,
    Provenance,
    RenderSpec,
    WorkerFacts,
    WorkerState,
)
from farm.reports import Stage
from farm.scheduler import forecast

Eta = forecast.Eta
"""When a job is expected to end."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A job and how far it has come.

    Attributes:
        job_id: Its name without the "jobs/" prefix.
        spec: As accepted: its defaults are complete but for the prompt.
        state: Where it is in its life.
        submitter: Who submitted it.
        priority: The priority now.
        image_count: Images in it.
        succeeded_count: Images committed.
        failed_count: Images that failed for good.
        create_time: When it was accepted.
        start_time: When its first image was started.
        end_time: When it reached its final state.
        eta: When it is expected to end; None while nothing is known of its speed, and once it has ended.
        reason: Why it is in this state: who paused it, what it waits for, why it failed.
    """

    job_id: str
    spec: JobSpec
    state: JobState
    submitter: str
    priority: int
    image_count: int
    succeeded_count: int
    failed_count: int
    create_time: float
    start_time: float | None
    end_time: float | None
    eta: Eta | None
    reason: str


@dataclass(frozen=True, slots=True)
class Committed:
    """What is known of an image that was committed.

    Attributes:
        sha256: Of the PNG, in hex.
        size_bytes: Of the PNG.
        attempt_number: The attempt that rendered it.
        worker_id: The worker that rendered it.
        provenance: How it came to be.
        render_seconds: From the start of the image to its decoded pixels.
        notes: What its submitter should know.
    """

    sha256: str
    size_bytes: int
    attempt_number: int
    worker_id: str
    provenance: Provenance
    render_seconds: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageView:
    """One image of a job.

    Attributes:
        job_id: Its job.
        index: Its position in the batch.
        state: Where it is in its life.
        spec: What was asked for, with every default filled in.
        committed: What came of it, in SUCCEEDED.
        finish_time: When it was committed or failed.
        error_reason: One word in capitals, in FAILED.
        error_message: The same for people.
    """

    job_id: str
    index: int
    state: ImageState
    spec: RenderSpec
    committed: Committed | None = None
    finish_time: float | None = None
    error_reason: str = ""
    error_message: str = ""


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One execution of a run of images on one worker; `reason` and `end_time` once it has ended."""

    job_id: str
    number: int
    worker_id: str
    first_index: int
    image_count: int
    state: AttemptState
    reason: str = ""
    end_time: float | None = None


@dataclass(frozen=True, slots=True)
class ProgressView:
    """How far the image that a worker is rendering has come: `step` of `step_count`, or a stage before the steps."""

    job_id: str
    attempt_number: int
    worker_id: str
    index: int | None
    stage: Stage
    step: int
    step_count: int


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One thing that happened to a job.

    Attributes:
        sequence: Grows from event to event. Progress, which is not kept, repeats the last one.
        time: When.
        event: What. A JobView is the job as it is now.
    """

    sequence: int
    time: float
    event: JobView | ImageView | AttemptView | ProgressView


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as the farm sees it.

    Attributes:
        worker_id: Its name without the "workers/" prefix.
        state: Where it is in its life.
        reason: Why, in words.
        facts: What it said of itself when it joined.
        resident_models: Models that are loaded on it.
        current_attempt: (job id, attempt number) of what it renders now.
        images_per_hour: Its recent rate; 0 before its first image.
        relative_speed: Its speed over what its chip was learned to do; 1 before its first image.
        last_seen_time: When the farm last heard from it.
    """

    worker_id: str
    state: WorkerState
    reason: str
    facts: WorkerFacts
    resident_models: tuple[str, ...]
    current_attempt: tuple[str, int] | None
    images_per_hour: float
    relative_speed: float
    last_seen_time: float


@dataclass(frozen=True, slots=True)
class FarmView:
    """The farm at one moment.

    Attributes:
        workers: Those that ever joined since this coordinator started.
        jobs: Those that have not ended: running ones first, then the newest; not all if there are very many.
        live_counts: How many have not ended, by submitter.
        rendering: What each worker that renders is doing, by worker.
    """

    workers: tuple[WorkerView, ...]
    jobs: tuple[JobView, ...]
    live_counts: Mapping[str, int]
    rendering: Mapping[str, ProgressView]


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """Which committed images are wanted; what is None does not restrict.

    Attributes:
        submitter: Whose.
        job_id: Of which job.
        worker_id: By which worker.
        model: With which model.
        chip_class: On which class of chip.
        text: Words in a row that the prompt holds, in any case of letters.
    """

    submitter: str | None = None
    job_id: str | None = None
    worker_id: str | None = None
    model: str | None = None
    chip_class: ChipClass | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerExplanation:
    """Why a job runs on a worker, or why it does not: `reason` is one word in capitals, `detail` the sentence."""

    worker_id: str
    runs_here: bool
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a job as a whole waits for, why it runs or does not run on each worker, and which attempts were lost."""

    summary: str
    workers: tuple[WorkerExplanation, ...]
    lost_attempts: tuple[AttemptView, ...]
