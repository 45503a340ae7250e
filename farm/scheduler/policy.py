"""Which job an idle worker gets, how much of it, and why a job does not run on a worker."""

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass

from farm.domain import AttentionVariant, ChipClass, ComputeUnit, ModelOffer, WorkerFacts, WorkerState
from farm.scheduler.state import FarmState, LiveJob, Worker

TASK_SECONDS = 30.0
"""A task is cut to about this much work: little is lost with a worker, and nothing is spent on placing."""

UNKNOWN_TASK_IMAGES = 2
"""Images in a task for a worker whose speed is not known yet."""

PREFERENCES: dict[ChipClass, tuple[tuple[ComputeUnit, tuple[AttentionVariant, ...]], ...]] = {
    ChipClass.ANE: (
        (ComputeUnit.CPU_AND_NE, (AttentionVariant.SPLIT_EINSUM, AttentionVariant.SPLIT_EINSUM_V2)),
        (ComputeUnit.CPU_AND_GPU, tuple(AttentionVariant)),
        (ComputeUnit.CPU_ONLY, tuple(AttentionVariant)),
    ),
    ChipClass.GPU: (
        (ComputeUnit.CPU_AND_GPU, tuple(AttentionVariant)),
        (ComputeUnit.CPU_AND_NE, (AttentionVariant.SPLIT_EINSUM, AttentionVariant.SPLIT_EINSUM_V2)),
        (ComputeUnit.CPU_ONLY, tuple(AttentionVariant)),
    ),
    ChipClass.CPU: (
        (ComputeUnit.CPU_ONLY, tuple(AttentionVariant)),
        (ComputeUnit.CPU_AND_GPU, tuple(AttentionVariant)),
    ),
}
"""Compute units by what a chip favours, best first, with the attention variants that run well on each, best first.

ORIGINAL never goes to the Neural Engine: its compiler was reported not to finish (apple/ml-stable-diffusion#271)."""


class Reason(enum.Enum):
    """Why a job runs on a worker, or why it does not."""

    RUNS_HERE = "RUNS_HERE"
    RUNS_NEXT = "RUNS_NEXT"
    CAN_RUN = "CAN_RUN"
    NOTHING_WAITS = "NOTHING_WAITS"
    JOB_PAUSED = "JOB_PAUSED"
    JOB_CANCELLING = "JOB_CANCELLING"
    OTHER_JOB_FIRST = "OTHER_JOB_FIRST"
    OFFLINE = "OFFLINE"
    DRAINING = "DRAINING"
    SUSPENDED = "SUSPENDED"
    PINNED_AWAY = "PINNED_AWAY"
    LACKS_MODEL = "LACKS_MODEL"
    LACKS_SIZE = "LACKS_SIZE"
    LACKS_VARIANT = "LACKS_VARIANT"


@dataclass(frozen=True, slots=True)
class Fit:
    """With what a worker would render a job."""

    offer: ModelOffer
    compute_unit: ComputeUnit


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a worker can never render a job as it is."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class WorkerReason:
    """Why a job runs on a worker, or why it does not: for programs and for people."""

    worker_id: str
    reason: Reason
    detail: str


def fit(job: LiveJob, facts: WorkerFacts) -> Fit | Misfit:
    """The best way in which a machine can render a job, or why it cannot."""
    spec, pin = job.spec, job.spec.pin
    if (misfit := _pinned_away(job, facts)) is not None:
        return misfit
    of_model = [offer for offer in facts.offers if offer.model == spec.model]
    if not of_model:
        return Misfit(Reason.LACKS_MODEL, f"does not have the model {spec.model}")
    size = (spec.defaults.width, spec.defaults.height)
    of_size = [offer for offer in of_model if (offer.width, offer.height) == size]
    if not of_size:
        return Misfit(Reason.LACKS_SIZE, f"has {spec.model}, but not for {size[0]}x{size[1]}")
    for unit, attentions in PREFERENCES[facts.chip_class]:
        if unit not in facts.compute_units or pin.compute_unit not in (None, unit):
            continue
        for attention in attentions:
            for offer in of_size:
                if offer.attention is attention and _pin_allows(job, offer):
                    return Fit(offer, unit)
    return Misfit(
        Reason.LACKS_VARIANT, f"has {spec.model}, but in no variant and on no compute unit that the job allows"
    )


def _pinned_away(job: LiveJob, facts: WorkerFacts) -> Misfit | None:
    pin = job.spec.pin
    if pin.chip_class not in (None, facts.chip_class):
        return Misfit(
            Reason.PINNED_AWAY, f"is of class {facts.chip_class.value}; the job is pinned to {pin.chip_class.value}"
        )
    if pin.runtime not in (None, facts.runtime):
        return Misfit(Reason.PINNED_AWAY, f"renders with {facts.runtime}; the job is pinned to {pin.runtime}")
    for key, value in pin.worker_labels.items():
        if facts.labels.get(key) != value:
            return Misfit(Reason.PINNED_AWAY, f"has no label {key}={value}, which the job is pinned to")
    return None


def _pin_allows(job: LiveJob, offer: ModelOffer) -> bool:
    pin = job.spec.pin
    return pin.attention in (None, offer.attention) and pin.model_digest in (None, offer.digest)


def rank(state: FarmState, job: LiveJob) -> tuple[int, int, float, str]:
    """Sorts jobs: higher priority first, then submitters with less running, then older jobs."""
    return (-job.priority, state.running_counts.get(job.submitter, 0), job.create_time, job.job_id)


def choose(state: FarmState, worker: Worker) -> tuple[LiveJob, Fit] | None:
    """The job that an idle worker gets next, and with what it renders it; None if there is none for it."""
    if worker.facts is None:
        return None
    for job in sorted((state.jobs[job_id] for job_id in state.runnable), key=lambda job: rank(state, job)):
        way = fit(job, worker.facts)
        if isinstance(way, Fit):
            return job, way
    return None


def task_size(state: FarmState, job: LiveJob, worker: Worker, way: Fit) -> int:
    """Images to hand out at once: half of a worker's even share of what waits, but not more than TASK_SECONDS of work.

    Halving makes tasks large first and small at the tail, where a large one would keep the others waiting (guided
    self-scheduling, Polychronopoulos and Kuck 1987).
    """
    estimate = state.rates.estimate(worker.worker_id, way.offer.digest)
    if estimate is None:
        return UNKNOWN_TASK_IMAGES
    active = sum(1 for other in state.workers.values() if other.state is WorkerState.ACTIVE)
    share = math.ceil(len(job.pending) / (2 * max(1, active)))
    return max(1, min(share, round(TASK_SECONDS / max(estimate.seconds, 0.001))))


def explain(state: FarmState, job: LiveJob) -> Iterator[WorkerReason]:
    """Yields, per worker, why the job runs there or why it does not."""
    runnable = [state.jobs[job_id] for job_id in state.runnable if job_id != job.job_id]
    for worker in state.workers.values():
        yield WorkerReason(worker.worker_id, *_explain_worker(state, job, worker, runnable))


def _explain_worker(state: FarmState, job: LiveJob, worker: Worker, others: list[LiveJob]) -> tuple[Reason, str]:
    held = [key for key in worker.attempts if key.job_id == job.job_id]
    if held and worker.attempts[0] == held[0]:
        return Reason.RUNS_HERE, f"renders it now, attempt {held[0].number}"
    if held:
        return Reason.RUNS_NEXT, f"renders it next, attempt {held[0].number}"
    absences = {
        WorkerState.OFFLINE: Reason.OFFLINE,
        WorkerState.DRAINING: Reason.DRAINING,
        WorkerState.SUSPENDED: Reason.SUSPENDED,
    }
    if worker.facts is None or worker.state in absences:
        return absences[worker.state], f"is {worker.state.value.lower()}: {worker.reason}"
    way = fit(job, worker.facts)
    if isinstance(way, Misfit):
        return way.reason, way.detail
    if not job.is_runnable:
        reasons = {"PAUSED": Reason.JOB_PAUSED, "CANCELLING": Reason.JOB_CANCELLING}
        reason = reasons.get(job.state.value, Reason.NOTHING_WAITS)
        return reason, {
            Reason.JOB_PAUSED: f"could render it, but the job is paused: {job.reason}",
            Reason.JOB_CANCELLING: "could render it, but the job is being cancelled",
            Reason.NOTHING_WAITS: "could render it, but every image of it is done or with a worker",
        }[reason]
    first = min(others, key=lambda other: rank(state, other), default=None)
    if first is not None and rank(state, first) < rank(state, job):
        return Reason.OTHER_JOB_FIRST, f"could render it, but job {first.job_id} comes first"
    return Reason.CAN_RUN, "can render it, and will when it has a place free"
