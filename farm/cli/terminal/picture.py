"""What the screen of `farm top` shows, asked of the farm in one go, and how it is put into words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from farm.cli.output import local_time, short_id
from farm.cli.progress import describe_end_time, describe_rate
from farm.cli.wording import chip_class_word, slowness_words, worker_state_word
from farm.client import AsyncClient, AsyncJob
from farm.client.shared import KnownJob
from farm.domain import JobState
from farm.errors import JobNotFoundError
from farm.v1 import job_service_pb2, worker_pb2

LIVE = [state for state in JobState if not state.is_final]

JOB_COLUMNS = ("JOB", "STATE", "IMAGES", "DONE", "ENDS IN")
WORKER_COLUMNS = ("WORKER", "STATE", "CHIP", "CLASS", "RATE", "RENDERS, OR WHY NOT")
EXPLANATION_COLUMNS = ("WORKER", "REASON", "WHY")

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Picture:
    """The farm at one time.

    Attributes:
        workers: Its workers, by name.
        jobs: Its live jobs by name, those that began first first.
        explained: Name of the job that `explanation` is of; empty if there is none.
        explanation: Why that job runs where it runs.
    """

    workers: Mapping[str, worker_pb2.Worker]
    jobs: Mapping[str, AsyncJob]
    explained: str
    explanation: job_service_pb2.ExplainJobResponse


@dataclass(frozen=True, slots=True)
class Throughput:
    """What the workers of one chip class do now.

    Attributes:
        chip_class: "ANE", "GPU" or "CPU".
        workers: How many there are, in whatever state.
        rendering: How many of them render.
        images_per_hour: What those render together.
    """

    chip_class: str
    workers: int
    rendering: int
    images_per_hour: float

    def __str__(self) -> str:
        rate = describe_rate(self.images_per_hour)
        return f"{self.chip_class}  {self.rendering} of {self.workers} rendering  {rate}"


async def look(client: AsyncClient, wanted: str) -> Picture:
    """Asks for the farm as it is now.

    Args:
        client: The farm.
        wanted: Name of the job to explain; if it is not live, the first one is explained.

    Raises:
        FarmError: The farm does not answer, or does not answer this caller.
    """
    workers = {worker.name: worker async for worker in client.workers()}
    listed = [job async for job in client.jobs(LIVE)]
    listed.sort(key=lambda job: (job.state is JobState.PENDING, job.message.create_time.ToNanoseconds()))
    jobs = {job.name: job for job in listed}
    explained = wanted if wanted in jobs else next(iter(jobs), "")
    explanation = job_service_pb2.ExplainJobResponse()
    if explained:
        try:
            explanation = await jobs[explained].explain()
        except JobNotFoundError:  # deleted since it was listed
            del jobs[explained]
            explained = ""
    return Picture(workers, jobs, explained, explanation)


def throughputs(workers: Sequence[worker_pb2.Worker]) -> list[Throughput]:
    """What each chip class that there is renders now."""
    classes: dict[str, list[worker_pb2.Worker]] = {}
    for worker in workers:
        classes.setdefault(chip_class_word(worker), []).append(worker)
    return [
        Throughput(
            chip_class,
            workers=len(members),
            rendering=sum(bool(worker.current_attempt) for worker in members),
            images_per_hour=sum(worker.images_per_hour for worker in members if worker.current_attempt),
        )
        for chip_class, members in sorted(classes.items())
    ]


def headline(picture: Picture) -> str:
    """The farm in one line."""
    everything = throughputs(list(picture.workers.values()))
    rendering = sum(one.rendering for one in everything)
    rate = describe_rate(sum(one.images_per_hour for one in everything))
    jobs = f"{len(picture.jobs)} job{'' if len(picture.jobs) == 1 else 's'} live"
    return f"{rendering} of {len(picture.workers)} workers rendering · {jobs} · {rate}"


def job_row(job: KnownJob, now: float) -> tuple[str, ...]:
    """A job's line, as JOB_COLUMNS has it."""
    message = job.message
    settled = message.succeeded_count + message.failed_count
    return (
        job_title(job),
        job.state.value.lower(),
        f"{message.succeeded_count}/{message.image_count}"
        + (f", {message.failed_count} failed" if message.failed_count else ""),
        f"{100 * settled // max(1, message.image_count)} %",
        describe_end_time(message.eta, since=now) if message.HasField("eta") else "not known yet",
    )


def job_title(job: KnownJob) -> str:
    """What people call a job."""
    return job.message.display_name or short_id(job.name)


def worker_row(worker: worker_pb2.Worker, jobs: Mapping[str, KnownJob]) -> tuple[str, ...]:
    """A worker's line, as WORKER_COLUMNS has it; `jobs` by name."""
    return (
        short_id(worker.name),
        worker_state_word(worker),
        worker.chip,
        chip_class_word(worker),
        describe_rate(worker.images_per_hour),
        "; ".join(filter(None, [_rendered(worker, jobs), worker.reason, slowness_words(worker)])) or "-",
    )


def _rendered(worker: worker_pb2.Worker, jobs: Mapping[str, KnownJob]) -> str:
    if not worker.current_attempt:
        return ""
    job_name, _, number = worker.current_attempt.partition("/attempts/")
    title = job_title(jobs[job_name]) if job_name in jobs else short_id(job_name)
    return f"{title}, attempt {number}"


def worker_lines(worker: worker_pb2.Worker) -> str:
    """All about a worker that has no room in its line."""
    labels = ", ".join(f"{key}={value}" for key, value in sorted(worker.labels.items()))
    told = {
        "state": worker_state_word(worker) + (f": {worker.reason}" if worker.reason else ""),
        "renders": worker.current_attempt or "nothing",
        "loaded": ", ".join(map(short_id, worker.resident_models)) or "no model",
        "machine": f"{worker.chip}, {worker.memory_bytes / _GIB:.0f} GiB, {worker.os}",
        "runtime": f"{worker.runtime}, farm {worker.version}",
        "heard of": local_time(worker.last_seen_time),
        "labels": labels,
    }
    return "\n".join(f"{name:<9} {value}" for name, value in told.items() if value)


def explanation_rows(explanation: job_service_pb2.ExplainJobResponse) -> list[tuple[str, ...]]:
    """Why a job runs, or does not, on each worker, as EXPLANATION_COLUMNS has it."""
    return [(short_id(worker.worker), worker.reason, worker.detail) for worker in explanation.workers]
