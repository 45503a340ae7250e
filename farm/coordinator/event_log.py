"""Logs what people will ask about afterwards: who came and went, which attempts were lost and why, how jobs fared."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from farm.coordinator.loop import Happened
from farm.domain import AttemptState
from farm.scheduler import events as ev

log = logging.getLogger(__name__)


def observe(happened: Sequence[Happened]) -> None:
    """Logs the notable ones of these events; observes the loop."""
    for _, event in happened:
        tell = _TELLERS.get(type(event))
        if tell is not None:
            tell(event)


def _attempt_ended(event: ev.AttemptEnded) -> None:
    if event.state is AttemptState.SUCCEEDED:
        return
    log.log(
        logging.WARNING if event.state is AttemptState.ABANDONED else logging.INFO,
        "attempt.%s job=%s attempt=%d worker=%s images=%d-%d reason=%r",
        event.state.value.lower(),
        event.job_id,
        event.number,
        event.worker_id,
        event.first_index,
        event.first_index + event.image_count - 1,
        event.reason,
    )


def _result_refused(event: ev.ResultRefused) -> None:
    log.warning(
        "result.refused job=%s attempt=%d image=%d worker=%s reason=%r",
        event.job_id,
        event.number,
        event.index,
        event.worker_id,
        event.reason,
    )


def _image_failed(event: ev.ImageFailed) -> None:
    outcome = "given_up" if event.is_final else "tried_again"
    log.warning(
        "image.%s job=%s image=%d worker=%s reason=%s message=%r",
        outcome,
        event.job_id,
        event.index,
        event.worker_id,
        event.reason,
        event.message,
    )


def _worker_suspended(event: ev.WorkerSuspended) -> None:
    if event.reason:
        log.warning("worker.suspended worker=%s reason=%r", event.worker_id, event.reason)
    else:
        log.info("worker.ready worker=%s", event.worker_id)


_TELLERS: dict[type, Callable[[Any], None]] = {
    ev.JobOpened: lambda e: log.info("job.opened job=%s images=%d submitter=%r", e.job_id, e.image_count, e.submitter),
    ev.JobPaused: lambda e: log.info("job.paused job=%s reason=%r", e.job_id, e.reason),
    ev.JobResumed: lambda e: log.info("job.resumed job=%s", e.job_id),
    ev.JobCancelled: lambda e: log.info("job.cancelled job=%s reason=%r", e.job_id, e.reason),
    ev.JobEnded: lambda e: log.info(
        "job.ended job=%s state=%s succeeded=%d failed=%d", e.job_id, e.state.value, e.succeeded_count, e.failed_count
    ),
    ev.AttemptEnded: _attempt_ended,
    ev.ImageFailed: _image_failed,
    ev.ResultRefused: _result_refused,
    ev.WorkerSetAside: lambda e: log.warning(
        "worker.set_aside worker=%s job=%s reason=%r", e.worker_id, e.job_id, e.reason
    ),
    ev.WorkerJoined: lambda e: log.info("worker.joined worker=%s chip=%r", e.worker_id, e.facts.chip),
    ev.WorkerChanged: lambda e: log.info(
        "worker.changed worker=%s models=%s", e.worker_id, sorted({offer.model for offer in e.facts.offers})
    ),
    ev.WorkerLeft: lambda e: log.warning("worker.left worker=%s reason=%r", e.worker_id, e.reason),
    ev.WorkerSuspended: _worker_suspended,
    ev.WorkerDrained: lambda e: log.info("worker.drained worker=%s", e.worker_id),
    ev.WorkerUndrained: lambda e: log.info("worker.resumed worker=%s", e.worker_id),
}
