"""What the blocking client and the asyncio one share: all but the calls."""

import dataclasses
import difflib
import os
import uuid
from collections.abc import Iterable, Mapping, Sized
from typing import Any

from farm.access.client_access import ClientAccess, find_client_access
from farm.access.tokens import Role
from farm.api import codec
from farm.api.address import DEFAULT_ADDRESS, check_written
from farm.api.requests import Outgoing, image_spec_message
from farm.domain import ImageSpec, ImageState, JobState, Pin
from farm.errors import ImageNotFoundError
from farm.v1 import access_service_pb2, job_pb2, job_service_pb2, model_service_pb2, worker_service_pb2

PATIENCE_SECONDS = 60.0
PAGE_SIZE = 1000


_DEFAULTS = tuple(field.name for field in dataclasses.fields(ImageSpec))


def chosen_access(address: str | None, token: str | None, ca: str | None) -> ClientAccess:
    """The way into the farm: as said, as FARM_ADDRESS, FARM_TOKEN and FARM_CA say, or into the one on this machine.

    Raises:
        AddressError: The address is not written as one.
        UntrustedServerError: There is nothing to verify a farm on another machine with, or what there is does not fit.
        UnreachableError: The farm does not answer, and its CA certificate had to be asked for.
    """
    chosen = address or os.environ.get("FARM_ADDRESS") or DEFAULT_ADDRESS
    check_written(chosen)
    return find_client_access(chosen, token, ca)


def outgoing(
    entries: str | Iterable[str | ImageSpec],
    *,
    model: str,
    display_name: str,
    priority: int,
    labels: Mapping[str, str] | None,
    pin: Pin | None,
    webhook: str,
    request_id: str | None,
    validate_only: bool,
    defaults: Mapping[str, Any],
) -> Outgoing:
    """A submission; arguments as in `Client.submit`.

    Raises:
        InvalidRequestError: A value is none that can be sent.
        TypeError: An argument is not known, or is of another type.
    """
    check_entries(entries, defaults)
    spec = job_pb2.JobSpec(
        labels=dict(labels or {}),
        defaults=image_spec_message(_defaults_spec(defaults), "spec.defaults"),
        pin=codec.encode_pin(pin or Pin()),
    )
    texts = {"display_name": display_name, "model": model, "priority": priority, "webhook": webhook}
    for name, value in texts.items():
        try:
            setattr(spec, name, value)
        except (TypeError, ValueError) as error:
            raise codec.invalid(f"spec.{name}", f"is {ascii(value)[:50]}, which cannot be sent ({error})") from None
    batch = [entries] if isinstance(entries, str) else entries
    return Outgoing(spec, batch, request_id or str(uuid.uuid4()), validate_only)


def check_entries(entries: object, defaults: Mapping[str, Any]) -> None:
    """Makes sure that `entries` can be a batch, before it is read.

    Raises:
        InvalidRequestError: They are not prompts, or there are none, and no default says what to render.
    """
    if isinstance(entries, Mapping | bytes | ImageSpec) or not isinstance(entries, Iterable):
        raise codec.invalid(
            "entries", f"is {ascii(entries)[:50]}; give a prompt, or a list of prompts and of farm.domain.ImageSpec"
        )
    if isinstance(entries, Sized) and not len(entries) and "prompt" not in defaults:
        raise codec.invalid("entries", "is empty; give a prompt, or a list of prompts and of farm.domain.ImageSpec")


def _defaults_spec(defaults: Mapping[str, Any]) -> ImageSpec:
    for name in defaults:
        if name not in _DEFAULTS:
            near = difflib.get_close_matches(name, _DEFAULTS, 1)
            hint = f'did you mean "{near[0]}"?' if near else f"fields of an image are {', '.join(_DEFAULTS)}"
            raise TypeError(f'submit() got an unexpected argument "{name}": {hint}')
    return ImageSpec(**defaults)


def get_job_request(name: str) -> job_service_pb2.GetJobRequest:
    """Asks for the job of that name, with or without "jobs/".

    Raises:
        InvalidRequestError: It can be no name.
    """
    try:
        return job_service_pb2.GetJobRequest(name=name if "/" in name else f"jobs/{name}")
    except (TypeError, ValueError):  # not text, or not Unicode
        raise codec.invalid("name", f'is {ascii(name)[:50]}; it must have the form "jobs/..."') from None


def drain_request(worker: str, *, now: bool) -> worker_service_pb2.DrainWorkerRequest:
    """Asks for a worker to be drained; its name with or without "workers/"."""
    return worker_service_pb2.DrainWorkerRequest(name=_named("workers", worker), now=now)


def resume_worker_request(worker: str) -> worker_service_pb2.ResumeWorkerRequest:
    """Asks for a drained worker to take work again; its name with or without "workers/"."""
    return worker_service_pb2.ResumeWorkerRequest(name=_named("workers", worker))


def prewarm_request(model: str, workers: Iterable[str]) -> model_service_pb2.PrewarmModelRequest:
    """Asks workers to load a model; names with or without their collections."""
    return model_service_pb2.PrewarmModelRequest(
        name=_named("models", model), workers=[_named("workers", worker) for worker in workers]
    )


def _named(collection: str, name: str) -> str:
    return name if "/" in name else f"{collection}/{name}"


def list_jobs_request(states: Iterable[JobState], submitter: str) -> job_service_pb2.ListJobsRequest:
    """Asks for jobs by state and submitter."""
    return job_service_pb2.ListJobsRequest(
        page_size=PAGE_SIZE, states=[codec.JOB_STATES[state] for state in states], submitter=submitter
    )


def create_token_request(
    role: Role, display_name: str, expire_time: float | None
) -> access_service_pb2.CreateTokenRequest:
    """Asks for a token."""
    return access_service_pb2.CreateTokenRequest(
        role=codec.ROLES[role], display_name=display_name, expire_time=codec.encode_time(expire_time)
    )


def create_invite_request(display_name: str, expire_time: float | None) -> access_service_pb2.CreateInviteRequest:
    """Asks for an invite."""
    return access_service_pb2.CreateInviteRequest(display_name=display_name, expire_time=codec.encode_time(expire_time))


def revoke_token_request(name: str) -> access_service_pb2.RevokeTokenRequest:
    """Asks to revoke the token of that name, with or without "tokens/"."""
    return access_service_pb2.RevokeTokenRequest(name=name if "/" in name else f"tokens/{name}")


class KnownJob:
    """A job as it was when the farm last told of it.

    Attributes:
        message: What the farm told.
    """

    def __init__(self, message: job_pb2.Job) -> None:
        self.message = message

    def __repr__(self) -> str:
        done = self.message.succeeded_count + self.message.failed_count
        return f"<{self.name} {self.state.value} {done}/{self.message.image_count}>"

    @property
    def name(self) -> str:
        """Its resource name, which starts with "jobs/"; empty for a job that was only validated."""
        return self.message.name

    @property
    def state(self) -> JobState:
        """Where it was in its life when last heard of."""
        return codec.member(codec.JOB_STATES, self.message.state, "state") or JobState.PENDING

    def _list_images_request(self, states: Iterable[ImageState]) -> job_service_pb2.ListImagesRequest:
        return job_service_pb2.ListImagesRequest(
            parent=self.name, page_size=PAGE_SIZE, states=[codec.IMAGE_STATES[state] for state in states]
        )

    def _learn(self, event: job_service_pb2.JobEvent) -> None:
        if event.HasField("job"):
            self.message = event.job

    def _no_file(self, index: int) -> ImageNotFoundError:
        return ImageNotFoundError(f"{self.name} has no file for image {index}: it is not committed.", job=self.name)
