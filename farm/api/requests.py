"""What a client sends: the stream of a submission, and images put together again from their chunks.

Pure functions, so that the blocking client and an asyncio one share all but the calls.
"""

from collections.abc import Iterable, Iterator

from farm.domain import ImageSpec
from farm.errors import InvalidRequestError
from farm.v1 import job_pb2, job_service_pb2

MAX_ENTRIES = 1000
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""1,000 entries with the longest prompts that are taken, in Latin script, fit."""

SUBMITTER_METADATA = "farm-submitter"
"""Until access control says who calls, callers say so themselves; only this machine's users can call at all."""

_MESSAGE_BYTES = 4 * 1024 * 1024
"""A message is closed once it is this long, so that 1,000 very long prompts stay below the server's limit."""


def image_spec_message(spec: ImageSpec, field: str) -> job_pb2.ImageSpec:
    """One image as it is sent; `field` is its path in the request, for the error.

    Raises:
        InvalidRequestError: A value does not fit its type on the wire.
    """
    values = {name: getattr(spec, name) for name in spec.__slots__}
    try:
        return job_pb2.ImageSpec(**{name: value for name, value in values.items() if value is not None})
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidRequestError(f"The request cannot be sent: {field} {error}.", {field: str(error)}) from None


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
        InvalidRequestError: A value of an entry does not fit its type on the wire.
    """
    yield job_service_pb2.SubmitJobRequest(spec=spec, request_id=request_id, validate_only=validate_only)
    run: list[job_pb2.ImageSpec] = []
    size = 0
    for index, entry in enumerate(entries):
        image_spec = ImageSpec(prompt=entry) if isinstance(entry, str) else entry
        message = image_spec_message(image_spec, f"entries[{index}]")
        run.append(message)
        size += message.ByteSize()
        if len(run) == MAX_ENTRIES or size >= _MESSAGE_BYTES:
            yield job_service_pb2.SubmitJobRequest(entries=job_pb2.Entries(entries=run))
            run, size = [], 0
    if run:
        yield job_service_pb2.SubmitJobRequest(entries=job_pb2.Entries(entries=run))


def assemble(chunks: Iterable[job_service_pb2.ImageChunk]) -> Iterator[tuple[job_pb2.Image, bytes]]:
    """Each image of a download with its file's bytes. An image that breaks off and begins anew is given once."""
    image = job_pb2.Image()
    png = bytearray()
    for chunk in chunks:
        if chunk.HasField("image"):
            image, png = chunk.image, bytearray()
        png += chunk.data
        if len(png) == image.size_bytes:
            yield image, bytes(png)
