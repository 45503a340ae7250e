"""How a job ended, in words and as an exit code."""

from collections import Counter

from farm.cli.output import count_images
from farm.client import Job
from farm.client.shared import KnownJob
from farm.domain import ImageState, JobState

SHOWN_ERRORS = 3


def state_word(job: KnownJob) -> str:
    """A job's state in small letters, and why, if there is a why."""
    word, reason = job.state.value.lower(), job.message.reason
    if not reason or reason.startswith(word):
        return reason or word
    return f"{word}: {reason}"


def describe_end(job: Job) -> str:
    """How a job ended: a line, and one for each of the first errors that images failed with."""
    message = job.message
    failed = f", {message.failed_count} failed" if message.failed_count else ""
    line = f"{job.name} {state_word(job)}: {message.succeeded_count} of {count_images(message.image_count)}{failed}"
    return "\n".join([line, *describe_failures(job)])


def describe_failures(job: Job) -> list[str]:
    """Why images failed: the first distinct errors, each with how many images have it and the first of them."""
    if not job.message.failed_count:
        return []
    counts: Counter[str] = Counter()
    firsts: dict[str, int] = {}
    for page in job.list_images([ImageState.FAILED]):
        for image in page:
            counts[image.error.message] += 1
            firsts.setdefault(image.error.message, image.index)
    lines = [
        f"  {count_images(counts[error])} failed, the first of them image {index}: {error}"
        for error, index in list(firsts.items())[:SHOWN_ERRORS]
    ]
    others = sum(counts.values()) - sum(counts[error] for error in list(firsts)[:SHOWN_ERRORS])
    return [*lines, *([f"  {count_images(others)} failed with other errors; see farm pull"] if others else [])]


def exit_code(job: Job) -> int:
    """0 if every image was rendered, 1 if the job or any image failed."""
    return 0 if job.state is JobState.SUCCEEDED and not job.message.failed_count else 1
