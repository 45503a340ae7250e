"""What Prometheus asks for: the coordinator's metrics, and where those of the workers are.

It shows the scrape token, which lies in the state folder from the first start on and opens nothing else. Whoever may
list workers may look as well.
"""

import hmac
from collections.abc import Iterator
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from farm.access.access import Access
from farm.access.certificates import expiry
from farm.access.files import write_private
from farm.access.hosts import is_loopback
from farm.api.tls import ServerIdentity
from farm.carrier.security import ray_token, scrape_token
from farm.coordinator.coordinator import Coordinator
from farm.coordinator.views import WorkerView
from farm.metrics import AUTHORITY_EXPIRY, CERTIFICATE_EXPIRY, Meters
from farm.web.answers import json_answer
from farm.web.site import allowed_caller, site_of

TOKEN_FILE = "scrape-token"  # noqa: S105 - a file's name


def routes() -> list[Route]:
    """The routes."""
    return [Route("/metrics", metrics), Route("/sd", targets)]


async def metrics(request: Request) -> Response:
    """What the coordinator counts."""
    _check_scraper(request)
    body, media_type = await site_of(request).coordinator.metrics(request.headers.get("accept", ""))
    return Response(body, media_type=media_type)


async def targets(request: Request) -> Response:
    """Where workers serve their metrics, as Prometheus' http_sd reads it."""
    _check_scraper(request)
    return json_answer(list(_targets(await site_of(request).coordinator.workers())))


def open_scraping(access: Access) -> str:
    """The scrape token; it is written where Prometheus finds it.

    Raises:
        AccessFilesError: The folder of access cannot be written.
    """
    token = scrape_token(ray_token(access.folder).read_text())
    write_private(access.folder / TOKEN_FILE, token.encode())
    return token


def tell_certificates(coordinator: Coordinator, access: Access, identity: ServerIdentity | None) -> None:
    """Has the metrics say until when the farm's certificates are good."""
    meters = coordinator.meters
    meters.set(AUTHORITY_EXPIRY, expiry(access.authority.certificate_pem).timestamp())
    if identity is not None:
        meters.before_each(partial(_tell_certificate, meters, identity))


def _tell_certificate(meters: Meters, identity: ServerIdentity) -> None:
    meters.set(CERTIFICATE_EXPIRY, expiry(identity.current().certificate_pem).timestamp())


def _check_scraper(request: Request) -> None:
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    expected = site_of(request).scrape_token
    if scheme.lower() != "bearer" or not hmac.compare_digest(shown.encode(errors="replace"), expected.encode()):
        allowed_caller(request, "/farm.v1.WorkerService/ListWorkers")


def _targets(workers: list[WorkerView]) -> Iterator[dict[str, object]]:
    for worker in workers:
        if address := worker.facts.metrics_address:
            scheme = "http" if is_loopback(address.rpartition(":")[0]) else "https"
            yield {"targets": [address], "labels": {"worker": worker.worker_id, "__scheme__": scheme}}
