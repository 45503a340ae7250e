"""Logging in with a token, and out."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from farm.access.tokens import Role, Token
from farm.api.permissions import PERMISSIONS
from farm.errors import PermissionDeniedError
from farm.web.answers import json_answer
from farm.web.calls import body_of
from farm.web.sessions import SESSION_SECONDS
from farm.web.site import PAGE_HEADER, caller_of, site_of


def routes() -> list[Route]:
    """What the page asks for before anything else."""
    return [
        Route("/session", who, methods=["GET"]),
        Route("/session", log_in, methods=["POST"]),
        Route("/session", log_out, methods=["DELETE"]),
    ]


async def who(request: Request) -> Response:
    """Who is logged in, and what they may do."""
    return json_answer(_described(caller_of(request)))


async def log_in(request: Request) -> Response:
    """Gives a cookie for a token."""
    if PAGE_HEADER not in request.headers:  # else another site could log somebody in as somebody else
        raise PermissionDeniedError(f"Logging in needs the header {PAGE_HEADER}: it is for the farm's own page.")
    site = site_of(request)
    token = site.access.tokens.verify(str((await body_of(request)).get("token", "")).strip())
    if token.role is Role.JOIN:
        raise PermissionDeniedError("This is an invite, which is for joining as a worker only. Log in with a token.")
    answer = json_answer(_described(token))
    answer.set_cookie(
        site.sessions.cookie_name,
        site.sessions.cookie(token),
        max_age=round(SESSION_SECONDS),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


async def log_out(request: Request) -> Response:
    """Takes the cookie back."""
    caller_of(request)
    answer = json_answer({})
    name = site_of(request).sessions.cookie_name
    answer.delete_cookie(name, secure=request.url.scheme == "https", httponly=True, samesite="strict")
    return answer


def _described(token: Token) -> dict[str, object]:
    allowed = (name for methods in PERMISSIONS.values() for name, roles in methods.items() if token.role in roles)
    return {"name": token.display_name, "role": token.role.value, "allowed": sorted(allowed)}
