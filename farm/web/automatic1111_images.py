"""Pictures by the interface of AUTOMATIC1111's stable-diffusion-webui: txt2img and img2img.

What they ask for and the farm cannot do is refused rather than left out, if it would change the picture.
"""

import asyncio
import base64
import binascii
import io
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from farm.access.tokens import Token
from farm.api import codec
from farm.coordinator.views import ImageView
from farm.domain import SAMPLERS, ImageSpec, JobState
from farm.web.calls import body_of, converted
from farm.web.orders import Finished, files, fulfil, listed, why_nothing
from farm.web.site import allowed_caller, site_of

SOURCE = "a1111"

MAX_BODY_BYTES = 64 << 20
"""A picture to start from comes as base64 in the body."""

HASH_DIGITS = 10

SPACINGS: Mapping[str, str] = {
    "": "",
    "automatic": "",
    "uniform": "",
    "karras": "-karras",
    "exponential": "-exponential",
}
"""Schedulers, as this interface calls spacings of noise levels, and how the farm's names of samplers end with each."""

_SAMPLERS: Mapping[str, str] = {label.lower(): name for name, label in SAMPLERS.items()} | {
    name: name for name in SAMPLERS
}
"""The farm's sampler by its label here or its own name."""

_REFUSED: Mapping[str, str] = {
    "alwayson_scripts": "is not possible: the farm runs no scripts or extensions",
    "controlnet_units": "is not possible: the farm has no ControlNet",
    "enable_hr": "is not possible: a model renders in the size that it was converted for",
    "mask": "is not possible: the farm does not inpaint",
    "refiner_checkpoint": "is not possible here: a model that has a refiner uses it by itself",
    "restore_faces": "is not possible",
    "script_name": "is not possible: the farm runs no scripts or extensions",
    "styles": "is not possible: write them into the prompt",
    "subseed_strength": "is not possible",
    "tiling": "is not possible",
}
"""What changes a picture and cannot be done; what else is not known has no effect."""


class Wanted(msgspec.Struct, frozen=True):
    """The part of a request for images that says something to the farm."""

    prompt: str = ""
    negative_prompt: str | None = None
    seed: int = -1
    sampler_name: str | None = None
    sampler_index: str | None = None
    scheduler: str | None = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int | None = None
    cfg_scale: float | None = None
    width: int | None = None
    height: int | None = None
    init_images: tuple[str, ...] = ()
    denoising_strength: float | None = None
    override_settings: dict[str, Any] = {}
    send_images: bool = True

    def spec(self, picture: bytes | None) -> ImageSpec:
        """What the images are to be; `picture` is what they start from, if anything.

        Raises:
            InvalidRequestError: There is no such sampler.
        """
        return ImageSpec(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            seed=None if self.seed == -1 else self.seed,
            width=self.width,
            height=self.height,
            steps=self.steps,
            guidance_scale=self.cfg_scale,
            sampler=sampler(self.sampler_name or self.sampler_index or "", self.scheduler or ""),
            strength=None if picture is None else self.denoising_strength,
            init_image=picture,
        )


async def txt2img(request: Request) -> Response:
    """Renders images from a prompt."""
    return await _render(request, from_picture=False)


async def img2img(request: Request) -> Response:
    """Renders images from a prompt and a picture."""
    return await _render(request, from_picture=True)


async def _render(request: Request, *, from_picture: bool) -> Response:
    caller = allowed_caller(request, "/farm.v1.JobService/SubmitJob")
    payload = await body_of(request, MAX_BODY_BYTES)
    refused = {name: why for name, why in _REFUSED.items() if payload.get(name)}
    if refused:
        raise codec.refusal(refused)
    wanted = converted(payload, Wanted)
    finished = await fulfil(
        request,
        caller,
        SOURCE,
        model=await chosen_model(request, caller, wanted.override_settings),
        wanted=wanted.spec(_picture(wanted) if from_picture else None),
        count=max(wanted.batch_size, 0) * max(wanted.n_iter, 0),
    )
    if not finished.committed and finished.job.state is not JobState.CANCELLED:
        raise why_nothing(finished)  # one that was interrupted answers with what there is
    return StreamingResponse(_written(request, payload, wanted, finished), media_type="application/json")


def sampler(name: str, scheduler: str) -> str | None:
    """The farm's sampler for a label and a scheduler; None, which leaves it to the model, for neither.

    Args:
        name: A label such as "DPM++ 2M" or "DPM++ 2M Karras", in any case, or the farm's own name.
        scheduler: A spacing such as "Karras"; empty or "Automatic" for what the name says.

    Raises:
        InvalidRequestError: The farm has none such.
    """
    if not name:
        return None
    base, spacing = _SAMPLERS.get(name.strip().lower()), SPACINGS.get(scheduler.strip().lower())
    if base is None:
        raise codec.invalid("sampler_name", f'is "{name[:40]}"; known are {", ".join(SAMPLERS.values())}')
    if spacing is None:
        raise codec.invalid("scheduler", f'is "{scheduler[:40]}"; known are {", ".join(filter(None, SPACINGS))}')
    found = base if base.endswith(spacing) else f"{base}{spacing}"
    if found not in SAMPLERS:
        raise codec.invalid("scheduler", f'is "{scheduler}", which the sampler {SAMPLERS[base]} does not go with')
    return found


async def chosen_model(request: Request, caller: Token, settings: Mapping[str, Any]) -> str:
    """The model that settings name, or else the one that the caller chose before; empty if neither."""
    site = site_of(request)
    title = settings.get("sd_model_checkpoint")
    if not title:
        return site.open_orders.chosen_models.get(caller.display_name, "")
    name = str(title).partition(" [")[0].removesuffix(".safetensors")
    return (await asyncio.to_thread(site.catalogue.get, name)).name


def _picture(wanted: Wanted) -> bytes:
    if len(wanted.init_images) != 1:
        raise codec.invalid("init_images", f"holds {len(wanted.init_images)} pictures; it must hold one")
    try:
        return base64.b64decode(wanted.init_images[0].rpartition(",")[2], validate=True)
    except binascii.Error:
        raise codec.invalid("init_images", "holds no base64") from None


async def _written(
    request: Request, payload: Mapping[str, Any], wanted: Wanted, finished: Finished
) -> AsyncIterator[bytes]:
    infotexts: list[str] = []

    async def pictures() -> AsyncIterator[str]:
        async for _, png in files(site_of(request).coordinator, finished):
            infotexts.append(_infotext(png))
            if wanted.send_images:
                yield base64.b64encode(png).decode()

    yield b'{"images":'
    async for part in listed(pictures()):
        yield part
    echo = {name: value for name, value in payload.items() if name != "init_images"}
    info = _info(wanted, finished, infotexts)
    yield b',"parameters":%b,"info":%b}' % (msgspec.json.encode(echo), msgspec.json.encode(json.dumps(info)))


def _infotext(png: bytes) -> str:
    from PIL.PngImagePlugin import PngImageFile

    with PngImageFile(io.BytesIO(png)) as image:
        return str(image.text.get("parameters", ""))


def _info(wanted: Wanted, finished: Finished, infotexts: list[str]) -> dict[str, Any]:
    """What the webui says of images beside them; lists are as long as there are images."""
    images = finished.committed
    first: ImageView | None = next(iter(images), None)
    spec = first.spec if first else None
    seeds = [image.spec.seed for image in images]
    count = len(images)
    return {
        "prompt": wanted.prompt,
        "all_prompts": [wanted.prompt] * count,
        "negative_prompt": wanted.negative_prompt or "",
        "all_negative_prompts": [wanted.negative_prompt or ""] * count,
        "seed": seeds[0] if seeds else wanted.seed,
        "all_seeds": seeds,
        "subseed": -1,
        "all_subseeds": [-1] * count,
        "subseed_strength": 0,
        "width": spec.width if spec else wanted.width,
        "height": spec.height if spec else wanted.height,
        "sampler_name": SAMPLERS[spec.sampler] if spec else wanted.sampler_name,
        "cfg_scale": spec.guidance_scale if spec else wanted.cfg_scale,
        "steps": spec.steps if spec else wanted.steps,
        "batch_size": wanted.batch_size,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": finished.job.spec.model,
        "sd_model_hash": _model_hash(first),
        "denoising_strength": spec.strength if spec else None,
        "extra_generation_params": {"Job": f"jobs/{finished.job.job_id}"},
        "index_of_first_image": 0,
        "infotexts": infotexts,
        "styles": [],
        "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.localtime(finished.job.create_time)),
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
    }


def _model_hash(image: ImageView | None) -> str:
    if image is None or image.committed is None:
        return ""
    return image.committed.provenance.model_digest.removeprefix("sha256:")[:HASH_DIGITS]
