"""Images by OpenAI's interface: POST /v1/images/generations and GET /v1/models.

Field names, answers and errors are OpenAI's; `negative_prompt`, `seed`, `steps`, `guidance_scale` and `sampler` are the
farm's own, which OpenAI's clients send as `extra_body`.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from farm.api import codec
from farm.api.status import to_status
from farm.domain import ImageSpec, Model
from farm.errors import FarmError, ImageNotFoundError, InvalidRequestError, ModelNotFoundError
from farm.web.answers import HTTP_STATUS, in_form, json_answer
from farm.web.calls import body_of, converted
from farm.web.orders import Finished, files, fulfil, listed, why_nothing
from farm.web.site import allowed_caller, site_of

SOURCE = "openai"

_PARAMETERS: Mapping[str, str] = {"width": "size", "height": "size"}
"""What OpenAI calls fields of the farm's, where it has another name."""

_TYPES: Mapping[int, str] = {400: "invalid_request_error", 404: "invalid_request_error", 429: "rate_limit_error"}
_RETRIED = frozenset({429, 503})
"""What OpenAI's clients may ask again by themselves; anything else would render the same failure twice more."""


class ImagesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request for images.

    What has no meaning for the models here is taken and ignored, since clients send it unasked: quality, style,
    moderation, output_compression, partial_images.
    """

    prompt: str
    model: str | None = None
    n: int | None = None
    size: str | None = None
    response_format: Literal["b64_json", "url"] | None = None
    output_format: Literal["png"] | None = None
    background: Literal["auto", "opaque"] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    quality: str | None = None
    style: str | None = None
    moderation: str | None = None
    output_compression: int | None = None
    partial_images: int | None = None
    stream: bool | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    sampler: str | None = None

    def wanted(self) -> ImageSpec:
        """What the images are to be.

        Raises:
            InvalidRequestError: The size is none.
        """
        width, height = _size(self.size)
        return ImageSpec(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            seed=self.seed,
            width=width,
            height=height,
            steps=self.steps,
            guidance_scale=self.guidance_scale,
            sampler=self.sampler,
        )


def routes() -> list[Route]:
    """What OpenAI's clients ask for, and the files that its answers link to."""
    return [
        Route("/v1/images/generations", in_form(generate, error_answer), methods=["POST"]),
        Route("/v1/images/files/{job}/{index:int}.png", in_form(file, error_answer)),
        Route("/v1/models", in_form(models, error_answer)),
        Route("/v1/models/{model:path}", in_form(model, error_answer)),
    ]


async def generate(request: Request) -> Response:
    """Renders images and answers with them, or with links to them."""
    caller = allowed_caller(request, "/farm.v1.JobService/SubmitJob")
    body = converted(await body_of(request), ImagesRequest)
    if body.stream:
        raise codec.invalid("stream", "must be false: images are sent when they are finished")
    finished = await fulfil(
        request,
        caller,
        SOURCE,
        model=body.model or "",
        wanted=body.wanted(),
        count=1 if body.n is None else body.n,
        user=body.safety_identifier or body.user or "",
    )
    if not finished.committed:
        raise why_nothing(finished)
    items = _links(request, finished) if body.response_format == "url" else _pictures(request, finished)
    return StreamingResponse(_written(finished, items), media_type="application/json")


async def file(request: Request) -> Response:
    """The file of an image, for whoever holds the link."""
    query = request.query_params
    site = site_of(request)
    site.sessions.check_link(request.url.path, query.get("expires", ""), query.get("signature", ""))
    image = await site.coordinator.image(request.path_params["job"], request.path_params["index"])
    if image.committed is None:
        raise ImageNotFoundError(f"Image {image.index} of job {image.job_id} is being rendered again.")
    return FileResponse(site.coordinator.artifact_path(image), media_type="image/png")


async def models(request: Request) -> Response:
    """The models that can be asked for."""
    allowed_caller(request, "/farm.v1.ModelService/ListModels")
    known = await asyncio.to_thread(site_of(request).catalogue.models)
    return json_answer({"object": "list", "data": [_described(one) for one in known]})


async def model(request: Request) -> Response:
    """One model."""
    allowed_caller(request, "/farm.v1.ModelService/GetModel")
    return json_answer(
        _described(await asyncio.to_thread(site_of(request).catalogue.get, request.path_params["model"]))
    )


def error_answer(error: FarmError) -> Response:
    """An error as OpenAI's clients read it."""
    status = HTTP_STATUS.get(to_status(error).code, 500)
    violations = error.violations if isinstance(error, InvalidRequestError) else {}
    named = {_parameter(path): text for path, text in violations.items()}
    answer = json_answer(
        {
            "error": {
                "message": " ".join(f"{name} {text}." for name, text in named.items()) or error.message,
                "type": _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error"),
                "param": "model" if isinstance(error, ModelNotFoundError) else next(iter(named), None),
                "code": "invalid_api_key" if status == 401 else error.reason.lower(),
            }
        },
        status,
    )
    if status not in _RETRIED:
        answer.headers["x-should-retry"] = "false"
    return answer


def _size(text: str | None) -> tuple[int | None, int | None]:
    """Width and height; None, which leaves them to the model, for "auto"."""
    if text in (None, "auto"):
        return None, None
    width, _, height = str(text).partition("x")
    if not (width.isdecimal() and height.isdecimal() and len(text or "") <= 11):
        raise codec.invalid("size", f'is "{str(text)[:20]}"; it must be WIDTHxHEIGHT in pixels, or "auto"')
    return int(width), int(height)


def _parameter(path: str) -> str:
    name = path.rpartition(".")[2]
    return _PARAMETERS.get(name, name)


async def _pictures(request: Request, finished: Finished) -> AsyncIterator[dict[str, Any]]:
    async for image, png in files(site_of(request).coordinator, finished):
        yield {"b64_json": base64.b64encode(png).decode(), "seed": image.spec.seed}


async def _links(request: Request, finished: Finished) -> AsyncIterator[dict[str, Any]]:
    for image in finished.committed:
        link = site_of(request).sessions.link(f"/v1/images/files/{image.job_id}/{image.index}.png")
        yield {"url": f"{str(request.base_url).rstrip('/')}{link}", "seed": image.spec.seed}


async def _written(finished: Finished, items: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    job = finished.job
    yield b'{"created":%d,"data":' % round(job.end_time or job.create_time)
    async for part in listed(items):
        yield part
    more = {"job": f"jobs/{job.job_id}", "model": job.spec.model, "failed_count": job.failed_count}
    yield b',"output_format":"png",' + msgspec.json.encode(more)[1:]


def _described(model: Model) -> dict[str, Any]:
    """A model as OpenAI lists it; a package does not say when its model was made."""
    sizes = sorted({f"{variant.width}x{variant.height}" for variant in model.variants})
    return {"id": model.name, "object": "model", "created": 0, "owned_by": "farm", "sizes": sizes}
