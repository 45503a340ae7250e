"""The API over HTTP, for the page: POST /api/SERVICE/METHOD with the request as JSON.

It is the gRPC API under another form: the same servicers, permissions, ownership, names and errors.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

import msgspec
from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from farm.api import codec
from farm.api.caller import calling_as
from farm.api.job_service import JobService
from farm.api.json_form import json_form
from farm.api.model_service import ModelService
from farm.api.requests import submission
from farm.api.worker_service import WorkerService
from farm.errors import FarmError
from farm.v1 import job_pb2, job_service_pb2, model_service_pb2, worker_service_pb2
from farm.web.answers import json_answer
from farm.web.site import Site, allowed_caller, site_of

T = TypeVar("T")

MAX_BODY_BYTES = 4 << 20

_METHODS: dict[str, type[Message]] = {
    "JobService/GetJob": job_service_pb2.GetJobRequest,
    "JobService/ListJobs": job_service_pb2.ListJobsRequest,
    "JobService/DeleteJob": job_service_pb2.DeleteJobRequest,
    "JobService/CancelJob": job_service_pb2.CancelJobRequest,
    "JobService/PauseJob": job_service_pb2.PauseJobRequest,
    "JobService/ResumeJob": job_service_pb2.ResumeJobRequest,
    "JobService/RetryJob": job_service_pb2.RetryJobRequest,
    "JobService/UpdateJobPriority": job_service_pb2.UpdateJobPriorityRequest,
    "JobService/ExplainJob": job_service_pb2.ExplainJobRequest,
    "JobService/ListImages": job_service_pb2.ListImagesRequest,
    "WorkerService/DrainWorker": worker_service_pb2.DrainWorkerRequest,
    "WorkerService/ResumeWorker": worker_service_pb2.ResumeWorkerRequest,
    "ModelService/ListModels": model_service_pb2.ListModelsRequest,
}
"""What is taken, and the request of each."""


class _Context:
    """What the servicers ask of gRPC's context."""

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return ()


def routes() -> list[Route]:
    """The calls."""
    return [
        Route("/api/JobService/SubmitJob", submit, methods=["POST"]),
        *(Route(f"/api/{method}", call, methods=["POST"]) for method in _METHODS),
    ]


async def call(request: Request) -> Response:
    """Answers a call of the API."""
    method = request.url.path.removeprefix("/api/")
    caller = allowed_caller(request, f"/farm.v1.{method}")
    service, _, name = method.partition("/")
    message = _parsed(await body_of(request), _METHODS[method]())
    with calling_as(caller):
        answer = await getattr(_servicer(site_of(request), service), name)(message, _Context())
    return json_answer(json_form(answer))


async def submit(request: Request) -> Response:
    """Takes a whole submission at once: `spec`, `entries`, `request_id` and `validate_only`, as in the API."""
    caller = allowed_caller(request, "/farm.v1.JobService/SubmitJob")
    body = await body_of(request)
    if not isinstance(body.get("entries", []), list):
        raise codec.invalid("entries", "must be a list")
    spec = _parsed(body.get("spec", {}), job_pb2.JobSpec())
    entries = [codec.decode_image_spec(_parsed(entry, job_pb2.ImageSpec())) for entry in body.get("entries", [])]
    messages = submission(spec, entries, str(body.get("request_id", "")), bool(body.get("validate_only")))

    async def stream() -> AsyncIterator[job_service_pb2.SubmitJobRequest]:
        for message in messages:
            yield message

    with calling_as(caller):
        job = await JobService(site_of(request).coordinator).SubmitJob(stream(), _Context())  # type: ignore[arg-type]
    return json_answer(json_form(job))


async def body_of(request: Request, limit: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """The JSON object that a request brings.

    Raises:
        InvalidRequestError: It brings none, or more than `limit` bytes.
    """
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > limit:
            raise codec.invalid("body", f"has more than {limit >> 20} MB; send large batches with `farm submit`")
    try:
        return msgspec.json.decode(bytes(content) or b"{}", type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise codec.invalid("body", f"is not a JSON object ({error})") from None


def converted(body: dict[str, Any], kind: type[T]) -> T:
    """A JSON object as a struct of msgspec's.

    Raises:
        InvalidRequestError: It does not fit; names the field.
    """
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        raise codec.invalid(path.rstrip("`") or "body", f"is wrong: {message}") from None


def _parsed(plain: Any, message: Any) -> Any:
    try:
        return json_format.ParseDict(plain, message)
    except (json_format.ParseError, TypeError, AttributeError) as error:
        raise codec.invalid("body", f"is not a {message.DESCRIPTOR.name} ({error})") from None


def _servicer(site: Site, service: str) -> Any:
    match service:
        case "JobService":
            return JobService(site.coordinator)
        case "WorkerService":
            return WorkerService(site.coordinator)
        case "ModelService":
            return ModelService(site.catalogue, site.coordinator)
    raise FarmError(f"There is no {service} over HTTP.")
