"""The page's own files: part of the package, so that nothing comes from anywhere else."""

import hashlib
from collections.abc import Awaitable, Callable
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}


def routes() -> list[Route]:
    """A route for each file; the page itself is at the root."""
    folder = files("farm.web") / "page"
    found = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    return [Route("/" if name == "index.html" else f"/{name}", _handler(name, found[name])) for name in sorted(found)]


def _handler(name: str, content: bytes) -> Callable[[Request], Awaitable[Response]]:
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"cache-control": "no-cache", "etag": tag}
    media_type = _TYPES[name.rpartition(".")[2]]

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)

    return answer
