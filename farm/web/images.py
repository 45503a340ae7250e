"""Images over HTTP: files, thumbnails, the gallery, and all that is known of one."""

import re
import shlex
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from farm.access.tokens import Token
from farm.api import codec
from farm.api.json_form import json_form
from farm.coordinator.gallery import MAX_PAGE
from farm.coordinator.views import ImageFilter, ImageView
from farm.domain import ChipClass
from farm.errors import ArtifactError, ImageNotFoundError, JobNotFoundError
from farm.web.answers import json_answer
from farm.web.live import audience_of
from farm.web.site import allowed_caller, site_of

_FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
"""An attempt's file never changes."""

_LIST = "/farm.v1.JobService/ListImages"
_DOWNLOAD = "/farm.v1.JobService/DownloadImages"
_TEXT_LIMIT = 200


def routes() -> list[Route]:
    """What the page shows of images."""
    return [
        Route("/gallery", gallery),
        Route("/images/{job}/{index:int}", one),
        Route("/images/{job}/{index:int}/{number:int}.png", full),
        Route("/thumbnails/{job}/{index:int}/{number:int}", thumbnail),
    ]


async def gallery(request: Request) -> Response:
    """A part of the list of committed images that the filters let through: how many there are, and those in it."""
    who = audience_of(allowed_caller(request, _LIST))
    query = request.query_params
    wanted = ImageFilter(
        submitter=None if who.sees_all else who.owner,
        job_id=query.get("job") or None,
        worker_id=query.get("worker") or None,
        model=query.get("model") or None,
        chip_class=_chip_class(query.get("class", "")),
        text=query.get("text", "")[:_TEXT_LIMIT] or None,
    )
    first, count = _number(query.get("first", "-60"), "first"), _number(query.get("count", "60"), "count")
    total, images = await site_of(request).coordinator.gallery.page(wanted, first, max(0, min(count, MAX_PAGE)))
    return json_answer({"total": total, "images": [image and _brief(image) for image in images]})


async def one(request: Request) -> Response:
    """All that is known of an image, and the command that renders it again."""
    job_id = await _visible_job(request, allowed_caller(request, _LIST))
    image = await site_of(request).coordinator.image(job_id, request.path_params["index"])
    known = json_form(codec.encode_image(image))
    if image.committed is not None:
        provenance = image.committed.provenance
        known |= {"model": provenance.model, "chip": provenance.chip, "versions": dict(provenance.versions)}
        known["command"] = command(image)
    return json_answer(known)


async def full(request: Request) -> Response:
    """The file of an image as it was committed."""
    path = await _file(request)
    name = f"{request.path_params['job']}-{request.path_params['index']:06d}.png"
    return FileResponse(
        path, headers=_FOREVER, media_type="image/png", filename=name, content_disposition_type="inline"
    )


async def thumbnail(request: Request) -> Response:
    """A small picture of an image."""
    path = await _file(request)
    try:
        content = await site_of(request).thumbnails.of(path)
    except OSError as error:
        raise ArtifactError(f"The image cannot be read ({error}). `farm retry` renders it again.") from error
    media_type = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
    return Response(content, headers=_FOREVER, media_type=media_type)


def command(image: ImageView) -> str:
    """A line for a shell that renders an image again: same spec, and on the same compute unit.

    The pixels are the same where runtime and versions are, too. A picture to start from is not part of it.
    """
    assert image.committed is not None
    spec, provenance = image.spec, image.committed.provenance
    options: dict[str, object] = {
        "model": provenance.model,
        "negative-prompt": spec.negative_prompt or None,
        "seed": spec.seed,
        "width": spec.width,
        "height": spec.height,
        "steps": spec.steps,
        "guidance-scale": f"{spec.guidance_scale:g}",
        "sampler": spec.sampler,
        "compute-unit": provenance.compute_unit.value,
        "attention": provenance.attention.value,
        "pull": f"out/{re.sub(r'[^A-Za-z0-9]+', '-', image.job_id)}-{image.index}-again",
    }
    said = (f"--{name}={shlex.quote(str(value))}" for name, value in options.items() if value is not None)
    return " ".join(("farm submit", f"--prompt={shlex.quote(spec.prompt)}", *said))


def _brief(image: ImageView) -> dict[str, object]:
    assert image.committed is not None
    return {
        "job": image.job_id,
        "index": image.index,
        "number": image.committed.attempt_number,
        "prompt": image.spec.prompt,
        "width": image.spec.width,
        "height": image.spec.height,
        "worker": image.committed.worker_id,
        "time": image.finish_time,
    }


async def _file(request: Request) -> Path:
    """The file that a request names, once it is clear that the caller may see it and that it is there."""
    job_id = await _visible_job(request, allowed_caller(request, _DOWNLOAD))
    parts = request.path_params
    path = site_of(request).coordinator.gallery.file(job_id, parts["index"], parts["number"])
    if not path.is_file():
        raise ImageNotFoundError(f"Job {job_id} has no file of image {parts['index']}, attempt {parts['number']}.")
    return path


async def _visible_job(request: Request, caller: Token) -> str:
    """The id of the job in the path, if it is one that the caller may see; to others it does not exist."""
    job_id = str(request.path_params["job"])
    owner = await site_of(request).owners.owner(job_id)
    if owner is None or not audience_of(caller).sees(owner):
        raise JobNotFoundError.of(job_id)
    return job_id


def _chip_class(text: str) -> ChipClass | None:
    try:
        return ChipClass(text) if text else None
    except ValueError:
        raise codec.invalid("class", f'is "{text[:20]}"; it must be ANE, GPU or CPU') from None


def _number(text: str, field: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise codec.invalid(field, f'is "{text[:20]}"; it must be a whole number') from None
