"""Images by the interface of AUTOMATIC1111's stable-diffusion-webui: /sdapi/v1/..."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from farm.access.tokens import Token
from farm.api import codec
from farm.api.status import to_status
from farm.domain import SAMPLERS, JobState, Model
from farm.errors import FarmError, InvalidRequestError
from farm.web.answers import HTTP_STATUS, Handler, in_form, json_answer
from farm.web.automatic1111_images import HASH_DIGITS, SOURCE, SPACINGS, chosen_model, img2img, txt2img
from farm.web.calls import body_of
from farm.web.open_orders import Order
from farm.web.orders import cancel
from farm.web.site import allowed_caller, site_of

_PREFIX = "/sdapi/v1"

_FIELDS: Mapping[str, str] = {
    "guidance_scale": "cfg_scale",
    "sampler": "sampler_name",
    "strength": "denoising_strength",
    "init_image": "init_images",
    "model": "sd_model_checkpoint",
    "n": "batch_size",
}
"""What this interface calls fields of the farm's, where it has another name."""

_NOTHING: Mapping[str, Any] = {
    "cmd-flags": {},
    "embeddings": {"loaded": {}, "skipped": {}},
    "face-restorers": [],
    "hypernetworks": [],
    "latent-upscale-modes": [],
    "loras": [],
    "memory": {"ram": {}, "cuda": {}},
    "prompt-styles": [],
    "realesrgan-models": [],
    "script-info": [],
    "scripts": {"txt2img": [], "img2img": []},
    "sd-vae": [],
    "upscalers": [],
}
"""What clients list before they begin, and the farm has none of."""


def routes() -> list[Route]:
    """What the webui's clients ask for."""
    handlers: Mapping[str, tuple[str, Handler]] = {
        "txt2img": ("POST", txt2img),
        "img2img": ("POST", img2img),
        "progress": ("GET", progress),
        "interrupt": ("POST", interrupt),
        "skip": ("POST", interrupt),
        "options": ("GET", options),
        "sd-models": ("GET", models),
        "samplers": ("GET", samplers),
        "schedulers": ("GET", schedulers),
        "refresh-checkpoints": ("POST", nothing),
        **dict.fromkeys(_NOTHING, ("GET", nothing)),
    }
    return [
        Route(f"{_PREFIX}/options", in_form(choose, error_answer), methods=["POST"]),
        *(
            Route(f"{_PREFIX}/{path}", in_form(handler, error_answer), methods=[method])
            for path, (method, handler) in handlers.items()
        ),
    ]


async def progress(request: Request) -> Response:
    """How far the oldest of the caller's requests is."""
    caller = allowed_caller(request, "/farm.v1.JobService/GetJob")
    orders = site_of(request).open_orders.of(caller.display_name, SOURCE)
    return json_answer(_progress(orders[0], len(orders)) if orders else _progress(None, 0))


async def interrupt(request: Request) -> Response:
    """Cancels the caller's requests; they answer with what is finished."""
    caller = allowed_caller(request, "/farm.v1.JobService/CancelJob")
    site = site_of(request)
    for order in site.open_orders.of(caller.display_name, SOURCE):
        await cancel(site.coordinator, order.job.job_id)
    return json_answer({})


async def options(request: Request) -> Response:
    """The settings that the farm knows."""
    caller = allowed_caller(request, "/farm.v1.ModelService/ListModels")
    return json_answer(await _options(request, caller))


async def choose(request: Request) -> Response:
    """Takes the model for the caller's next requests; other settings only as they are."""
    caller = allowed_caller(request, "/farm.v1.ModelService/GetModel")
    chosen = await body_of(request)
    current = await _options(request, caller)
    wrong = {
        name: f"cannot be changed: here it is {json.dumps(current[name]) if name in current else 'not known'}"
        for name, value in chosen.items()
        if name != "sd_model_checkpoint" and (name not in current or current[name] != value)
    }
    if wrong:
        raise codec.refusal(wrong)
    model = await chosen_model(request, caller, chosen)
    site_of(request).open_orders.chosen_models[caller.display_name] = model
    return json_answer(None)


async def models(request: Request) -> Response:
    """The models that can be chosen."""
    allowed_caller(request, "/farm.v1.ModelService/ListModels")
    return json_answer([_described(model) for model in await asyncio.to_thread(site_of(request).catalogue.models)])


async def samplers(request: Request) -> Response:
    """The samplers that can be asked for."""
    allowed_caller(request, "/farm.v1.ModelService/ListModels")
    return json_answer([{"name": label, "aliases": [name], "options": {}} for name, label in SAMPLERS.items()])


async def schedulers(request: Request) -> Response:
    """The spacings of noise levels that can be asked for."""
    allowed_caller(request, "/farm.v1.ModelService/ListModels")
    facts = {"aliases": None, "default_rho": -1.0, "need_inner_model": False}
    return json_answer([{"name": name, "label": name.capitalize(), **facts} for name in SPACINGS if name])


async def nothing(request: Request) -> Response:
    """What the farm has none of."""
    allowed_caller(request, "/farm.v1.ModelService/ListModels")
    return json_answer(_NOTHING.get(request.url.path.removeprefix(f"{_PREFIX}/")))


def error_answer(error: FarmError) -> Response:
    """An error as the webui's clients read it."""
    violations = error.violations if isinstance(error, InvalidRequestError) else {}
    named = {_FIELDS.get(name := path.rpartition(".")[2], name): text for path, text in violations.items()}
    message = " ".join(f"{name} {text}." for name, text in named.items()) or error.message
    content = {"error": error.reason, "detail": message, "body": "", "errors": message}
    return json_answer(content, HTTP_STATUS.get(to_status(error).code, 500))


async def _options(request: Request, caller: Token) -> dict[str, Any]:
    site = site_of(request)
    known = await asyncio.to_thread(site.catalogue.models)
    chosen = site.open_orders.chosen_models.get(caller.display_name) or (known[0].name if len(known) == 1 else "")
    current = next((_described(model) for model in known if model.name == chosen), {"title": "", "sha256": ""})
    return {
        "sd_model_checkpoint": current["title"],
        "sd_checkpoint_hash": current["sha256"],
        "samples_format": "png",
        "CLIP_stop_at_last_layers": 1,
        "sd_vae": "Automatic",
    }


def _described(model: Model) -> dict[str, Any]:
    digest = model.variants[0].digest.removeprefix("sha256:") if model.variants else ""
    short = digest[:HASH_DIGITS]
    return {
        "title": f"{model.name} [{short}]",
        "model_name": model.name,
        "hash": short,
        "sha256": digest,
        "filename": model.name,
        "config": None,
    }


def _progress(order: Order | None, waiting: int) -> dict[str, Any]:
    steps = next(iter(order.steps.values()), None) if order else None
    eta = order.job.eta if order else None
    return {
        "progress": order.fraction if order else 0.0,
        "eta_relative": max(0.0, eta.likely - time.time()) if eta else 0.0,
        "state": {
            "skipped": False,
            "interrupted": order is not None and order.job.state in (JobState.CANCELLING, JobState.CANCELLED),
            "stopping_generation": False,
            "job": f"jobs/{order.job.job_id}" if order else "",
            "job_count": waiting,
            "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.localtime(order.job.create_time)) if order else "0",
            "job_no": order.settled_count if order else 0,
            "sampling_step": steps.step if steps else 0,
            "sampling_steps": steps.step_count if steps else 0,
        },
        "current_image": None,
        "textinfo": order.job.reason if order else None,
    }
