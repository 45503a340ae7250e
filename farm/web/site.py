"""What the handlers of the web server share, and how they find out who asks."""

import base64
import binascii
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection, Request

from farm.access.access import Access
from farm.access.tokens import Token
from farm.api.permissions import check_permission
from farm.coordinator.admission import Models
from farm.coordinator.coordinator import Coordinator
from farm.errors import PermissionDeniedError, UnauthenticatedError
from farm.web.history import History
from farm.web.live import Live, Owners
from farm.web.open_orders import OpenOrders
from farm.web.sessions import Sessions
from farm.web.thumbnails import Thumbnails

PAGE_HEADER = "x-farm-page"
"""What the page adds to each request that changes something. Another site's page cannot: a browser would ask first,
and is never answered."""

_SAFE_METHODS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Site:
    """A farm, as the web server sees it.

    Attributes:
        coordinator: Answers for jobs and workers.
        catalogue: Answers for models.
        access: Who may call.
        sessions: Who is logged in.
        scrape_token: What the farm's Prometheus shows.
        history: What the farm did lately.
        owners: Whose jobs are whose.
        live: The page's live view.
        thumbnails: Small pictures.
        open_orders: What other tools wait for.
    """

    coordinator: Coordinator
    catalogue: Models
    access: Access
    sessions: Sessions
    scrape_token: str
    history: History
    owners: Owners
    live: Live
    thumbnails: Thumbnails
    open_orders: OpenOrders = field(default_factory=OpenOrders)


def site_of(connection: HTTPConnection) -> Site:
    """The site that is asked."""
    site: Site = connection.app.state.site
    return site


def caller_of(request: Request) -> Token:
    """Who asks: by a bearer token, by a token as the password of basic authentication, or by the page's cookie.

    Raises:
        UnauthenticatedError: Nobody that the farm knows.
        PermissionDeniedError: A cookie came with a request to change something that is not the page's own.
    """
    site = site_of(request)
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return site.access.tokens.verify(credentials)
        case "basic":
            return site.access.tokens.verify(_password(credentials))
    cookie = request.cookies.get(site.sessions.cookie_name)
    if cookie is None:
        raise UnauthenticatedError("Every request needs a token. `farm token create` makes one.")
    if request.method not in _SAFE_METHODS and PAGE_HEADER not in request.headers:
        raise PermissionDeniedError(
            f"A request that changes something needs the header {PAGE_HEADER} beside a cookie, so that no other site "
            "can make a browser send it. Programs send a token: Authorization: Bearer ..."
        )
    return site.sessions.token(cookie)


def allowed_caller(request: Request, method: str) -> Token:
    """Who asks, if their role allows them the API's `method` ("/service/method"); raises as its parts do."""
    caller = caller_of(request)
    check_permission(caller, method)
    return caller


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
