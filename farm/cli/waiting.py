"""Why a job that is followed does not move."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from farm.cli.output import short_id
from farm.client import Job
from farm.errors import FarmError, UnreachableError
from farm.v1 import job_service_pb2

STILL_SECONDS = 3.0
"""A job that has not moved for so long is asked why."""

SHOWN_WORKERS = 3

_LOOK_SECONDS = 1.0


def describe_wait(explanation: job_service_pb2.ExplainJobResponse) -> str:
    """Why nothing of a job is being rendered; empty if something is."""
    workers = explanation.workers
    if any(worker.runs_here for worker in workers):
        return ""
    details = [f"{short_id(worker.worker)} {worker.detail}" for worker in workers[:SHOWN_WORKERS]]
    more = [f"{len(workers) - SHOWN_WORKERS} more workers: farm explain"] if len(workers) > SHOWN_WORKERS else []
    return "; ".join([explanation.summary.partition(". ")[0].rstrip("."), *details, *more])


@contextmanager
def told_when_still(
    job: Job, moved: Callable[[], float], stage: Callable[[], str], tell: Callable[[str], object]
) -> Iterator[None]:
    """While the block runs, says on another thread why the job does not move, whenever it does not.

    Args:
        job: The job.
        moved: When it last moved, in seconds since the epoch.
        stage: What is done before the first step ("loading the model"); empty if steps are taken.
        tell: Is told the reason, again and again.
    """
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            if time.time() - moved() < STILL_SECONDS:
                continue
            if reason := _reason(job) or stage():
                tell(reason)

    watcher = threading.Thread(target=look, name="waiting", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join(_LOOK_SECONDS)


def _reason(job: Job) -> str:
    try:
        return describe_wait(job.explain())
    except UnreachableError:
        return "the farm does not answer; waiting for it to come back"
    except FarmError as error:
        return error.message
