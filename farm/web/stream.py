"""What the page watches: the live view, and where a worker's time went."""

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from farm.errors import UnauthenticatedError
from farm.web.answers import json_answer
from farm.web.live import audience_of
from farm.web.site import allowed_caller, caller_of, site_of

_LOOK = "/farm.v1.WorkerService/ListWorkers"


def routes() -> list[Route]:
    """The live view."""
    return [Route("/live", live), Route("/workers/{worker}/time", worker_time)]


async def live(request: Request) -> Response:
    """Server-sent events: `picture`, then `change`."""
    who = audience_of(allowed_caller(request, _LOOK))

    async def frames() -> AsyncIterator[bytes]:
        async for frame in site_of(request).live.watch(who):
            try:
                caller_of(request)  # a token that is revoked or expires meanwhile ends the stream
            except UnauthenticatedError:
                return
            yield frame

    # Proxies that gather an answer before they pass it on must not.
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(frames(), headers=headers, media_type="text/event-stream")


async def worker_time(request: Request) -> Response:
    """Seconds of a worker's time by stage."""
    allowed_caller(request, _LOOK)
    site = site_of(request)
    worker = await site.coordinator.worker(request.path_params["worker"])
    return json_answer(site.history.seconds_by_stage(worker.worker_id, site.coordinator.now()))
