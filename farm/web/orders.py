"""Images for callers who wait for them, as other tools do: each request is an ordinary job.

It is cancelled when its caller goes away or the time is up, so that nothing is rendered for nobody; what was committed
before remains, as with any job.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request

from farm.access.tokens import Token
from farm.api import codec
from farm.api.image_files import read_image_file
from farm.coordinator.admission import MAX_LABEL_CHARACTERS
from farm.coordinator.coordinator import Coordinator
from farm.coordinator.views import ImageView, JobView
from farm.domain import ImageSpec, ImageState, JobSpec, JobState
from farm.errors import ImageFailedError, JobNotFoundError, TimeLimitError, UnreachableError, WrongStateError
from farm.web.open_orders import Order
from farm.web.site import site_of

MAX_IMAGES = 100
"""Images that one request may ask for."""

MAX_SECONDS = 3600.0
"""How long a caller may wait; `?timeout=SECONDS` makes it less."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that was waited for, as it is at the end of waiting, and its images that have settled."""

    job: JobView
    images: tuple[ImageView, ...]

    @property
    def committed(self) -> tuple[ImageView, ...]:
        """The images that succeeded."""
        return tuple(image for image in self.images if image.committed is not None)


async def fulfil(
    request: Request, caller: Token, source: str, model: str, wanted: ImageSpec, count: int, user: str = ""
) -> Finished:
    """Has images rendered and waits for them, as long as the caller does.

    Args:
        request: What is answered; its body must have been read.
        caller: Whose the job is.
        source: The interface that it came by, which becomes a label.
        model: Name of the model; empty for the only one.
        wanted: What the images are to be. Their seeds count up from its own.
        count: How many.
        user: For whom the caller asks, which becomes a label.

    Raises:
        TimeLimitError: It took too long.
        UnreachableError: The farm is being stopped.
        FarmError: The job was refused.
    """
    seconds = _time_limit(request)
    if not 1 <= count <= MAX_IMAGES:
        raise codec.invalid(
            "n", f"is {count}; it must be from 1 to {MAX_IMAGES} here: larger batches are for `farm submit`"
        )
    labels = {"source": source} | ({"user": user[:MAX_LABEL_CHARACTERS]} if user else {})
    name = f"{source}: {(wanted.prompt or '')[:60]}"
    site = site_of(request)
    coordinator = site.coordinator
    job_id = await _submit(coordinator, JobSpec(model, name, labels=labels, defaults=wanted), caller, count)
    with site.open_orders.showing(Order(source, caller.display_name, await coordinator.job(job_id))) as order:
        await _wait(request, coordinator, order, seconds)
    settled = frozenset({ImageState.SUCCEEDED, ImageState.FAILED})
    images = await coordinator.images(job_id, settled, -1, count)
    return Finished(await coordinator.job(job_id), tuple(images))


async def _submit(coordinator: Coordinator, spec: JobSpec, caller: Token, count: int) -> str:
    submission = await coordinator.open_submission(spec, caller.display_name, request_id="", entry_count=count)
    try:
        await submission.add([ImageSpec()] * count)
        return await submission.accept()
    finally:
        await submission.abandon()


async def _wait(request: Request, coordinator: Coordinator, order: Order, seconds: float) -> None:
    """Waits until the job has ended; cancels it if the caller leaves, the time is up or the server stops."""
    ended = asyncio.create_task(_follow(coordinator, order))
    left = asyncio.create_task(_departure(request))
    try:
        done, _ = await asyncio.wait((ended, left), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if ended in done:
            await ended
        elif left not in done:
            raise TimeLimitError(
                f"The images were not ready after {seconds:g} s, and their job was cancelled. What was rendered of it "
                f"is kept: farm pull {order.job.job_id}. Ask for fewer images or steps, or use `farm submit`, which "
                "does not wait.",
                job=order.job.job_id,
            )
    except asyncio.CancelledError:  # by the server, which ends what is open when it stops
        raise UnreachableError(
            "The farm is being stopped, and the images' job was cancelled. Ask again when it is back.",
            job=order.job.job_id,
        ) from None
    finally:
        left.cancel()
        if not ended.done():
            ended.cancel()
            await cancel(coordinator, order.job.job_id)


async def cancel(coordinator: Coordinator, job_id: str) -> None:
    """Cancels a job, unless it has just ended by itself."""
    with contextlib.suppress(WrongStateError, JobNotFoundError):
        await coordinator.cancel_job(job_id)


async def _follow(coordinator: Coordinator, order: Order) -> None:
    async for event in coordinator.watch(order.job.job_id, None):
        order.take(event)


async def _departure(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _time_limit(request: Request) -> float:
    text = request.query_params.get("timeout", str(MAX_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= MAX_SECONDS:
        raise codec.invalid("timeout", f'is "{text[:20]}"; it must be a number of seconds up to {MAX_SECONDS:g}')
    return seconds


def why_nothing(finished: Finished) -> ImageFailedError | WrongStateError:
    """The error for a job that gave no image at all."""
    job = finished.job
    if job.state is JobState.CANCELLED:
        return WrongStateError(f"The job {job.job_id} was cancelled: {job.reason}.", job=job.job_id)
    failed = next((image for image in finished.images if image.committed is None), None)
    return ImageFailedError(failed.error_message if failed else job.reason, job=job.job_id)


async def files(coordinator: Coordinator, finished: Finished) -> AsyncIterator[tuple[ImageView, bytes]]:
    """Each image that succeeded, with its file; one at a time, however many there are."""
    for image in finished.committed:
        yield image, await asyncio.to_thread(read_image_file, coordinator, image)


async def listed(items: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """A JSON list that is written as its items come."""
    before = b"["
    async for item in items:
        yield before + msgspec.json.encode(item)
        before = b","
    yield b"[]" if before == b"[" else b"]"
