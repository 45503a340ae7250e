"""Protocol buffers to the farm's vocabulary, and back.

Requests are decoded into `farm.domain`, what the coordinator shows is encoded into `farm.v1` messages. Whether a value
makes sense is not decided here: `farm.coordinator.admission` does, for every way a job comes in.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, Protocol, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from farm import domain
from farm.access.tokens import Role, Token
from farm.access.versions import Versions
from farm.api.status import failure_status
from farm.coordinator import views
from farm.errors import JOB_FAILED, InvalidRequestError
from farm.v1 import access_pb2, job_pb2, job_service_pb2, model_pb2, worker_pb2

E = TypeVar("E", bound=enum.Enum)


class _WireEnum(Protocol):
    def Value(self, name: str) -> Any: ...  # noqa: N802 - as protobuf has it


def _numbers(members: type[E], wire: _WireEnum, prefix: str) -> dict[E, Any]:
    """The number on the wire of each member; the two enums agree by name, `prefix` aside."""
    return {member: wire.Value(f"{prefix}_{member.name}") for member in members}


JOB_STATES = _numbers(domain.JobState, job_pb2.JobState, "JOB_STATE")
IMAGE_STATES = _numbers(domain.ImageState, job_pb2.ImageState, "IMAGE_STATE")
ATTEMPT_STATES = _numbers(domain.AttemptState, job_pb2.AttemptState, "ATTEMPT_STATE")
WORKER_STATES = _numbers(domain.WorkerState, worker_pb2.WorkerState, "WORKER_STATE")
CHIP_CLASSES = _numbers(domain.ChipClass, job_pb2.ChipClass, "CHIP_CLASS")
COMPUTE_UNITS = _numbers(domain.ComputeUnit, job_pb2.ComputeUnit, "COMPUTE_UNIT")
ROLES = _numbers(Role, access_pb2.Role, "ROLE")
ATTENTIONS = _numbers(domain.AttentionVariant, job_pb2.Attention, "ATTENTION")


def member(numbers: Mapping[E, int], number: int, field: str) -> E | None:
    """The member that `number` stands for; None for the unspecified 0.

    Raises:
        InvalidRequestError: No member has this number, as when a newer client speaks to an older farm.
    """
    if number == 0:
        return None
    for candidate, known in numbers.items():
        if known == number:
            return candidate
    raise invalid(field, f"is {number}, which this farm does not know")


def members(numbers: Mapping[E, int], wanted: Iterable[int], field: str) -> frozenset[E]:
    """The members that a filter names; all of them if it names none."""
    chosen = {member(numbers, number, f"{field}[{position}]") for position, number in enumerate(wanted)}
    return frozenset(one for one in chosen if one is not None) or frozenset(numbers)


def invalid(field: str, message: str) -> InvalidRequestError:
    """The error for one field that is wrong."""
    return refusal({field: message})


def refusal(violations: Mapping[str, str]) -> InvalidRequestError:
    """The error for fields that are wrong; its message names the first."""
    field, message = next(iter(violations.items()))
    more = len(violations) - 1
    others = f" {more} more {'field is' if more == 1 else 'fields are'} wrong." if more else ""
    return InvalidRequestError(f"The request was refused: {field} {message}.{others}", violations)


def resource_id(name: str, collection: str, field: str = "name") -> str:
    """The last part of a resource name: "jobs/abc" with collection "jobs" gives "abc".

    Raises:
        InvalidRequestError: `name` is not of that form.
    """
    prefix, _, last = name.partition("/")
    if prefix != collection or not last or "/" in last:
        raise invalid(field, f'is "{name[:100]}"; it must have the form "{collection}/..." without another slash')
    return last


# Requests


def decode_image_spec(message: job_pb2.ImageSpec) -> domain.ImageSpec:
    """What one image should be. Only fields that are set on the wire are set in the result."""
    return domain.ImageSpec(**{field.name: value for field, value in message.ListFields()})


def decode_pin(message: job_pb2.Pin) -> domain.Pin:
    """Where a job may run.

    Raises:
        InvalidRequestError: An enum's number is not known.
    """
    return domain.Pin(
        chip_class=member(CHIP_CLASSES, message.chip_class, "spec.pin.chip_class"),
        compute_unit=member(COMPUTE_UNITS, message.compute_unit, "spec.pin.compute_unit"),
        attention=member(ATTENTIONS, message.attention, "spec.pin.attention"),
        runtime=message.runtime or None,
        model_digest=message.model_digest or None,
        worker_labels=dict(message.worker_labels),
    )


def decode_job_spec(message: job_pb2.JobSpec) -> domain.JobSpec:
    """A submission without its entries.

    Raises:
        InvalidRequestError: A field cannot be understood, or is not taken by this version.
    """
    if message.output:
        raise invalid("spec.output", "is not taken yet: images stay with the coordinator, `farm pull` fetches them")
    return domain.JobSpec(
        model=message.model.removeprefix("models/"),
        display_name=message.display_name,
        priority=message.priority,
        labels=dict(message.labels),
        defaults=decode_image_spec(message.defaults),
        pin=decode_pin(message.pin),
        webhook=message.webhook,
    )


# Answers


def encode_time(seconds: float | None) -> Timestamp | None:
    """A time in seconds since the epoch, to the microsecond (a float holds no more)."""
    if seconds is None:
        return None
    stamp = Timestamp()
    stamp.FromMicroseconds(round(seconds * 1e6))
    return stamp


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration


def encode_image_spec(spec: domain.ImageSpec | domain.RenderSpec) -> job_pb2.ImageSpec:
    """What one image should be, without `init_image`: a page of 1,000 images would send them all back."""
    fields = ((name, getattr(spec, name)) for name in spec.__slots__ if name != "init_image")
    return job_pb2.ImageSpec(**{name: value for name, value in fields if value is not None})


def encode_pin(pin: domain.Pin) -> job_pb2.Pin:
    """Where a job may run."""
    return job_pb2.Pin(
        chip_class=CHIP_CLASSES[pin.chip_class] if pin.chip_class else job_pb2.CHIP_CLASS_UNSPECIFIED,
        compute_unit=COMPUTE_UNITS[pin.compute_unit] if pin.compute_unit else job_pb2.COMPUTE_UNIT_UNSPECIFIED,
        attention=ATTENTIONS[pin.attention] if pin.attention else job_pb2.ATTENTION_UNSPECIFIED,
        runtime=pin.runtime or "",
        model_digest=pin.model_digest or "",
        worker_labels=dict(pin.worker_labels),
    )


def encode_job_spec(spec: domain.JobSpec, image_count: int) -> job_pb2.JobSpec:
    """A submission without its entries."""
    return job_pb2.JobSpec(
        display_name=spec.display_name,
        model=f"models/{spec.model}",
        priority=spec.priority,
        labels=dict(spec.labels),
        defaults=encode_image_spec(spec.defaults),
        pin=encode_pin(spec.pin),
        entry_count=image_count,
        webhook=spec.webhook,
    )


def encode_job(job: views.JobView) -> job_pb2.Job:
    """A job and how far it has come."""
    return job_pb2.Job(
        name=f"jobs/{job.job_id}",
        display_name=job.spec.display_name,
        spec=encode_job_spec(job.spec, job.image_count),
        state=JOB_STATES[job.state],
        submitter=job.submitter,
        priority=job.priority,
        image_count=job.image_count,
        succeeded_count=job.succeeded_count,
        failed_count=job.failed_count,
        create_time=encode_time(job.create_time),
        start_time=encode_time(job.start_time),
        end_time=encode_time(job.end_time),
        eta=_encode_eta(job.eta) if job.eta else None,
        error=failure_status(JOB_FAILED, job.reason) if job.state is domain.JobState.FAILED else None,
        reason=job.reason,
    )


def _encode_eta(eta: views.Eta) -> job_pb2.Eta:
    return job_pb2.Eta(
        earliest=encode_time(eta.earliest), likely=encode_time(eta.likely), latest=encode_time(eta.latest)
    )


def encode_image(image: views.ImageView) -> job_pb2.Image:
    """One image, with its provenance once it is committed."""
    message = job_pb2.Image(
        name=f"jobs/{image.job_id}/images/{image.index}",
        index=image.index,
        state=IMAGE_STATES[image.state],
        seed=image.spec.seed,
        spec=encode_image_spec(image.spec),
        finish_time=encode_time(image.finish_time),
    )
    if image.state is domain.ImageState.FAILED:
        message.error.CopyFrom(failure_status(image.error_reason, image.error_message))
    if image.committed is not None:
        message.MergeFrom(_encode_committed(image.committed))
    return message


def _encode_committed(committed: views.Committed) -> job_pb2.Image:
    provenance = committed.provenance
    return job_pb2.Image(
        sha256=committed.sha256,
        size_bytes=committed.size_bytes,
        attempt_number=committed.attempt_number,
        worker=f"workers/{committed.worker_id}",
        chip_class=CHIP_CLASSES[provenance.chip_class],
        compute_unit=COMPUTE_UNITS[provenance.compute_unit],
        attention=ATTENTIONS[provenance.attention],
        runtime=provenance.runtime,
        model_digest=provenance.model_digest,
        render_duration=_duration(committed.render_seconds),
        notes=committed.notes,
    )


def encode_event(event: views.WatchEvent) -> job_service_pb2.JobEvent:
    """One thing that happened to a job."""
    message = job_service_pb2.JobEvent(sequence=event.sequence, event_time=encode_time(event.time))
    match event.event:
        case views.JobView() as job:
            message.job.CopyFrom(encode_job(job))
        case views.ImageView() as image:
            message.image.CopyFrom(encode_image(image))
        case views.AttemptView() as attempt:
            message.attempt.CopyFrom(_encode_attempt(attempt))
        case views.ProgressView() as progress:
            message.progress.CopyFrom(_encode_progress(progress))
    return message


def _encode_attempt(attempt: views.AttemptView) -> job_pb2.Attempt:
    return job_pb2.Attempt(
        number=attempt.number,
        worker=f"workers/{attempt.worker_id}",
        first_index=attempt.first_index,
        image_count=attempt.image_count,
        state=ATTEMPT_STATES[attempt.state],
        reason=attempt.reason,
        end_time=encode_time(attempt.end_time),
    )


def _encode_progress(progress: views.ProgressView) -> job_pb2.Progress:
    return job_pb2.Progress(
        attempt_number=progress.attempt_number,
        worker=f"workers/{progress.worker_id}",
        index=progress.index,
        step=progress.step,
        step_count=progress.step_count,
        stage=progress.stage.value,
    )


def encode_explanation(explanation: views.Explanation) -> job_service_pb2.ExplainJobResponse:
    """Why a job runs where it runs."""
    return job_service_pb2.ExplainJobResponse(
        summary=explanation.summary,
        workers=[
            job_service_pb2.WorkerExplanation(
                worker=f"workers/{one.worker_id}", runs_here=one.runs_here, reason=one.reason, detail=one.detail
            )
            for one in explanation.workers
        ],
        lost_attempts=[_encode_attempt(attempt) for attempt in explanation.lost_attempts],
    )


def encode_worker(worker: views.WorkerView) -> worker_pb2.Worker:
    """A worker as the farm sees it."""
    facts = worker.facts
    return worker_pb2.Worker(
        name=f"workers/{worker.worker_id}",
        state=WORKER_STATES[worker.state],
        reason=worker.reason,
        chip=facts.chip,
        chip_class=CHIP_CLASSES[facts.chip_class],
        gpu_cores=facts.gpu_cores,
        performance_cores=facts.performance_cores,
        has_ane=facts.has_ane,
        memory_bytes=facts.memory_bytes,
        os=facts.os,
        runtime=facts.runtime,
        resident_models=[f"models/{model}" for model in worker.resident_models],
        current_attempt="jobs/{}/attempts/{}".format(*worker.current_attempt) if worker.current_attempt else "",
        images_per_hour=worker.images_per_hour,
        relative_speed=worker.relative_speed,
        labels=dict(facts.labels),
        last_seen_time=encode_time(worker.last_seen_time),
        version=facts.version,
        measurements=[_encode_measurement(measured) for measured in facts.measurements],
    )


def _encode_measurement(measured: domain.Measurement) -> worker_pb2.Measurement:
    message = worker_pb2.Measurement(
        model_digest=measured.digest,
        compute_unit=COMPUTE_UNITS[measured.compute_unit],
        peak_memory_bytes=measured.peak_memory_bytes,
        failure=measured.failure,
    )
    if measured.seconds_per_step > 0:
        message.step_duration.CopyFrom(_duration(measured.seconds_per_step))
        message.step_spread.CopyFrom(_duration(measured.spread_seconds))
        message.fixed_duration.CopyFrom(_duration(measured.fixed_seconds))
    if measured.load_seconds > 0:
        message.load_duration.CopyFrom(_duration(measured.load_seconds))
    if measured.first_load_seconds > 0:
        message.compile_duration.CopyFrom(_duration(measured.compile_seconds))
    return message


def encode_model(model: domain.Model, workers: Iterable[views.WorkerView] = ()) -> model_pb2.Model:
    """A model and its forms, without their places on disk, and which of some workers have it."""
    return model_pb2.Model(
        name=f"models/{model.name}",
        display_name=model.display_name,
        description=model.description,
        variants=[
            model_pb2.ModelVariant(
                attention=ATTENTIONS[variant.attention],
                digest=variant.digest,
                width=variant.width,
                height=variant.height,
                precision=variant.precision,
                size_bytes=variant.size_bytes,
            )
            for variant in model.variants
        ],
        defaults=encode_image_spec(model.defaults),
        samplers=domain.SAMPLERS,
        workers=[
            f"workers/{worker.worker_id}"
            for worker in workers
            if any(offer.model == model.name for offer in worker.facts.offers)
        ],
    )


def encode_token(token: Token) -> access_pb2.Token:
    """A token, without anything of its secret."""
    return access_pb2.Token(
        name=f"tokens/{token.token_id}",
        role=ROLES[token.role],
        display_name=token.display_name,
        create_time=encode_time(token.create_time),
        expire_time=encode_time(token.expire_time),
        revoke_time=encode_time(token.revoke_time),
        last_use_time=encode_time(token.last_use_time),
    )


def encode_versions(versions: Versions) -> access_pb2.Versions:
    """What a machine runs."""
    return access_pb2.Versions(**asdict(versions))
