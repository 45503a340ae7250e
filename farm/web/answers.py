"""Answers over HTTP: JSON, errors by the API's table, and headers that hold for all of them."""

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import msgspec
from google.rpc import code_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farm.api.status import to_status
from farm.errors import FarmError, InvalidRequestError

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

HTTP_STATUS: Mapping[int, int] = {
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.FAILED_PRECONDITION: 409,
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.ABORTED: 409,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.DEADLINE_EXCEEDED: 504,
    code_pb2.DATA_LOSS: 500,
    code_pb2.INTERNAL: 500,
    code_pb2.UNAVAILABLE: 503,
}
"""As `google.rpc.Code` says, but for FAILED_PRECONDITION: what is asked for does not fit the state of a resource."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Headers:
    """Adds to every answer what keeps a browser from doing more with it than it should."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers as the application does, with the headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def json_answer(content: Any, status: int = 200) -> Response:
    """An answer as JSON; dataclasses and enums are written as msgspec does."""
    return Response(msgspec.json.encode(content), status, {"cache-control": "no-store"}, media_type="application/json")


async def farm_error(_: Request, error: Exception) -> Response:
    """The answer for an error of the farm's: reason, message and, for wrong input, each field that is wrong."""
    assert isinstance(error, FarmError)
    status = HTTP_STATUS.get(to_status(error).code, 500)
    violations = error.violations if isinstance(error, InvalidRequestError) else {}
    return json_answer({"error": {"reason": error.reason, "message": error.message, "violations": violations}}, status)


def in_form(handler: Handler, answer_to: Callable[[FarmError], Response]) -> Handler:
    """A handler whose errors are answered as another interface writes them."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except FarmError as error:
            return answer_to(error)

    return answer


async def unexpected_error(request: Request, error: Exception) -> Response:
    """The answer for an error that nobody expected: an id that finds it in the log."""
    log_id = uuid.uuid4().hex[:12]
    log.error("web.unexpected_error log_id=%s path=%s", log_id, request.url.path, exc_info=error)
    return await farm_error(
        request,
        FarmError(f"The farm met an unexpected error. Its log says more under the id {log_id}; please report it."),
    )
