"""What the blocking client and the asyncio one share: all but the calls."""

import os
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from farm.api import codec
from farm.api.address import DEFAULT_ADDRESS
from farm.api.requests import Outgoing, image_spec_message
from farm.domain import ImageSpec, ImageState, JobState, Pin
from farm.errors import ImageNotFoundError
from farm.v1 import job_pb2, job_service_pb2

PATIENCE_SECONDS = 60.0
PAGE_SIZE = 1000


def chosen_address(address: str | None) -> str:
    """Where the farm listens: as said, as FARM_ADDRESS says, or on this machine."""
    return address or os.environ.get("FARM_ADDRESS") or DEFAULT_ADDRESS


def outgoing(
    entries: str | Iterable[str | ImageSpec],
    *,
    model: str,
    display_name: str,
    priority: int,
    labels: Mapping[str, str] | None,
    pin: Pin | None,
    request_id: str | None,
    validate_only: bool,
    defaults: Mapping[str, Any],
) -> Outgoing:
    """A submission; arguments as in `Client.submit`."""
    spec = job_pb2.JobSpec(
        display_name=display_name,
        model=model,
        priority=priority,
        labels=dict(labels or {}),
        defaults=image_spec_message(ImageSpec(**defaults), "spec.defaults"),
        pin=codec.encode_pin(pin or Pin()),
    )
    batch = [entries] if isinstance(entries, str) else entries
    return Outgoing(spec, batch, request_id or str(uuid.uuid4()), validate_only)


def get_job_request(name: str) -> job_service_pb2.GetJobRequest:
    """Asks for the job of that name, with or without "jobs/"."""
    return job_service_pb2.GetJobRequest(name=name if "/" in name else f"jobs/{name}")


def list_jobs_request(states: Iterable[JobState], submitter: str) -> job_service_pb2.ListJobsRequest:
    """Asks for jobs by state and submitter."""
    return job_service_pb2.ListJobsRequest(
        page_size=PAGE_SIZE, states=[codec.JOB_STATES[state] for state in states], submitter=submitter
    )


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
