"""What a client sends: the stream of a submission, and images put together again from their chunks.

Pure functions, so that the blocking client and an asyncio one share all but the calls.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from farm.domain import ImageSpec
from farm.errors import InvalidRequestError, UnreachableError
from farm.v1 import job_pb2, job_service_pb2

MAX_ENTRIES = 1000
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""1,000 entries with the longest prompts that are taken, in Latin script, fit."""

AUTHORIZATION_METADATA = "authorization"
"""Holds "Bearer TOKEN"."""

SUBMITTER_METADATA = "farm-submitter"
"""Whom an admin submits for, such as this machine's own user. Of others, their token says who they are."""

_MESSAGE_BYTES = 4 * 1024 * 1024
"""A message is closed once it is this long, so that 1,000 very long prompts stay below the server's limit."""


def image_spec_message(spec: ImageSpec, field: str) -> job_pb2.ImageSpec:
    """One image as it is sent; `field` is its path in the request, for the error.

    Raises:
        InvalidRequestError: A value does not fit its type on the wire.
    """
    values = {name: value for name in spec.__slots__ if (value := getattr(spec, name)) is not None}
    try:
        return job_pb2.ImageSpec(**values)
    except (TypeError, ValueError, OverflowError):
        violations = {f"{field}.{name}": problem for name, value in values.items() if (problem := _misfit(name, value))}
        place, problem = next(iter(violations.items()))
        raise InvalidRequestError(f"The request cannot be sent: {place} {problem}.", violations) from None


def _misfit(name: str, value: Any) -> str:
    """Why a value does not fit its type on the wire; empty if it does."""
    try:
        job_pb2.ImageSpec(**{name: value})
    except (TypeError, ValueError, OverflowError) as error:
        return f"is {ascii(value)[:50]}, which cannot be sent ({error})"
    return ""


def submission(
    spec: job_pb2.JobSpec, entries: Iterable[str | ImageSpec], request_id: str, validate_only: bool
) -> Iterator[job_service_pb2.SubmitJobRequest]:
    """The messages of one submission: the spec, then the entries in runs of up to 1,000.

    Args:
        spec: The job.
        entries: Prompts, or specs that say more; read as the messages are taken.
        request_id: The same submission sent again with it makes no second job.
        validate_only: Whether the farm shall check and not accept.

    Raises:
        InvalidRequestError: An entry is neither, or a value of it does not fit its type on the wire.
    """
    yield job_service_pb2.SubmitJobRequest(spec=spec, request_id=request_id, validate_only=validate_only)
    run: list[job_pb2.ImageSpec] = []
    size = 0
    for index, entry in enumerate(entries):
        image_spec = ImageSpec(prompt=entry) if isinstance(entry, str) else entry
        if not isinstance(image_spec, ImageSpec):
            problem = f"is {ascii(entry)[:50]}; it must be a prompt or a farm.domain.ImageSpec"
            raise InvalidRequestError(
                f"The request cannot be sent: entries[{index}] {problem}.", {f"entries[{index}]": problem}
            )
        message = image_spec_message(image_spec, f"entries[{index}]")
        run.append(message)
        size += message.ByteSize()
        if len(run) == MAX_ENTRIES or size >= _MESSAGE_BYTES:
            yield job_service_pb2.SubmitJobRequest(entries=job_pb2.Entries(entries=run))
            run, size = [], 0
    if run:
        yield job_service_pb2.SubmitJobRequest(entries=job_pb2.Entries(entries=run))


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A submission that is to be sent, and sent again if a restart of the farm cuts it off.

    Attributes:
        spec: The job.
        entries: Prompts, or specs that say more.
        request_id: Makes sending it again harmless.
        validate_only: Whether the farm shall check and not accept.
    """

    spec: job_pb2.JobSpec
    entries: Iterable[str | ImageSpec]
    request_id: str
    validate_only: bool

    def messages(self) -> Iterator[job_service_pb2.SubmitJobRequest]:
        """The messages, from the first."""
        return submission(self.spec, self.entries, self.request_id, self.validate_only)

    def check_repeatable(self) -> None:
        """Makes sure that the entries can be read again.

        Raises:
            UnreachableError: They come from an iterator, which can be read only once.
        """
        if isinstance(self.entries, Iterator):
            raise UnreachableError(
                "The connection to the farm broke while the batch was sent, and its entries come from an iterator, "
                "which can be read only once. Submit it again with the same entries and "
                f'request_id="{self.request_id}": if the farm accepted it after all, you get that job. Entries in a '
                "sequence, or in any object that can be iterated over again, are sent again by themselves.",
                request_id=self.request_id,
            )


class Assembler:
    """Puts the images of a download together from its chunks."""

    def __init__(self) -> None:
        self._image = job_pb2.Image()
        self._png = bytearray()

    def add(self, chunk: job_service_pb2.ImageChunk) -> tuple[job_pb2.Image, bytes] | None:
        """Takes the next chunk; gives an image with its file's bytes once that is whole.

        An image that breaks off and begins anew is given once.
        """
        if chunk.HasField("image"):
            self._image, self._png = chunk.image, bytearray()
        self._png += chunk.data
        return (self._image, bytes(self._png)) if len(self._png) == self._image.size_bytes else None
