"""Carries the news of ended jobs to their webhooks, and does not give up soon.

Whom it owes is in the journal from the moment a job is accepted, so a restart forgets nobody. How long to wait until
the next try follows from how long ago the job ended, so nothing else need be kept. A receiver may be told twice, with
the same id, if the farm dies between its answer and the note of it.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import msgspec

from farm.api import codec
from farm.api.json_form import json_form
from farm.coordinator.coordinator import Coordinator
from farm.coordinator.loop import Happened
from farm.coordinator.views import JobView
from farm.errors import FarmError, JobNotFoundError, WebhookError
from farm.installation import NAME
from farm.scheduler import events as ev
from farm.webhooks.guard import resolve
from farm.webhooks.signing import Secret

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

_HOUR = 3600.0
TRIES = (5.0, 30.0, 120.0, 600.0, 1800.0, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, 24 * _HOUR, 48 * _HOUR, 72 * _HOUR)
"""When it is tried again, in seconds after the job ended."""

TIMEOUT_SECONDS = 15.0
_AT_ONCE = 8
_GONE = 410
"""By this answer a receiver says that it wants to hear no more."""


@asynccontextmanager
async def delivering(
    coordinator: Coordinator, secret: Secret, *, allow_private: bool, tries: Sequence[float] = TRIES
) -> AsyncIterator[None]:
    """Tells webhooks that their jobs have ended, until the context ends.

    Args:
        coordinator: Knows the jobs.
        secret: What to sign with.
        allow_private: Whether they may be on private networks or this machine.
        tries: When to try again, in seconds after the end of a job.
    """
    import httpx2

    client = httpx2.AsyncClient(
        verify=ssl.create_default_context(),
        trust_env=False,  # a proxy would look names up again, behind the guard's back
        follow_redirects=False,  # it would lead around the guard, too
        timeout=TIMEOUT_SECONDS,
        headers={"user-agent": f"{NAME}-webhooks"},
    )
    async with client:
        sender = WebhookSender(coordinator, secret, client, allow_private=allow_private, tries=tries)
        working = asyncio.create_task(sender.run())
        try:
            yield
        finally:
            working.cancel()
            await asyncio.wait([working])


class WebhookSender:
    """See `delivering`."""

    def __init__(
        self,
        coordinator: Coordinator,
        secret: Secret,
        client: "httpx2.AsyncClient",
        *,
        allow_private: bool,
        tries: Sequence[float],
    ) -> None:
        self._coordinator = coordinator
        self._secret = secret
        self._client = client
        self._allow_private = allow_private
        self._tries = tries
        self._under_way: set[str] = set()
        self._news = asyncio.Event()
        self._places = asyncio.Semaphore(_AT_ONCE)
        coordinator.observe(self._observe)

    def _observe(self, happened: Sequence[Happened]) -> None:
        if any(isinstance(event, ev.JobEnded) for _, event in happened):
            self._news.set()

    async def run(self) -> None:
        """Delivers until cancelled."""
        try:
            async with asyncio.TaskGroup() as deliveries:
                while True:
                    self._news.clear()
                    for job_id in set(await self._coordinator.pending_webhooks.job_ids()) - self._under_way:
                        self._under_way.add(job_id)
                        deliveries.create_task(self._deliver(job_id))
                    await self._news.wait()
        except Exception:  # whatever is wrong with webhooks, the farm renders on
            log.exception("webhook.delivery_failed")

    async def _deliver(self, job_id: str) -> None:
        try:
            await self._until_settled(job_id)
        except JobNotFoundError:  # deleted meanwhile
            pass
        except FarmError as error:  # it stays under way, until the farm is started again
            log.warning("webhook.put_off job=%s reason=%r", job_id, str(error))
            return
        self._under_way.discard(job_id)
        self._news.set()  # it may have been retried, and have ended again

    async def _until_settled(self, job_id: str) -> None:
        """Tries until it is told, given up, or no longer so."""
        while True:
            job = await self._coordinator.job(job_id)
            if job.end_time is None:  # it is being retried; its next end will be told
                return
            wait = await self._try(job)
            if wait is None:
                await self._coordinator.pending_webhooks.settle(job)
                return
            await asyncio.sleep(wait)

    async def _try(self, job: JobView) -> float | None:
        """Seconds to wait before the next try; None if there is none."""
        try:
            async with self._places:
                status = await self._post(job)
            failure = "" if 200 <= status < 300 else f"it answered {status}"
        except WebhookError as error:
            status, failure = 0, error.message
        if not failure:
            log.info("webhook.delivered job=%s", job.job_id)
            return None
        assert job.end_time is not None
        age = self._coordinator.now() - job.end_time
        wait = None if status == _GONE else next((time - age for time in self._tries if time > age), None)
        if wait is None:
            log.warning("webhook.given_up job=%s reason=%r", job.job_id, failure)
        else:
            log.warning("webhook.failed job=%s reason=%r again_in_seconds=%.0f", job.job_id, failure, wait)
        return wait

    async def _post(self, job: JobView) -> int:
        """Sends it, and gives the HTTP status of the answer, which nobody reads further.

        Raises:
            WebhookError: There was no answer, or it may not be sent there.
        """
        import httpx2

        parts = urlsplit(job.spec.webhook)
        host = parts.hostname or ""
        content = message(job)
        headers = self._secret.headers(message_id(job), int(self._coordinator.now()), content)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                port = parts.port or (443 if parts.scheme == "https" else 80)
                address = await resolve(host, port, allow_private=self._allow_private)
                place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
                async with self._client.stream(
                    "POST",
                    urlunsplit((parts.scheme, place, parts.path or "/", parts.query, "")),
                    content=content,
                    headers={**headers, "host": parts.netloc, "content-type": "application/json"},
                    extensions={"sni_hostname": host},
                ) as answer:
                    return answer.status_code
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise WebhookError(f"it did not answer ({type(error).__name__}: {error})") from None


def message(job: JobView) -> bytes:
    """What is sent of a job: as the API has it."""
    plain = json_form(codec.encode_job(job))
    return msgspec.json.encode({"type": "job.ended", "timestamp": plain["end_time"], "data": {"job": plain}})


def message_id(job: JobView) -> str:
    """The same for every try to tell one end of a job, and another for its next."""
    assert job.end_time is not None
    return f"{job.job_id}-{round(job.end_time * 1000)}"
