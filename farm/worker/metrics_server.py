"""Serves a worker's metrics over HTTP, on threads of its own: it answers whatever the renderer does.

On loopback anybody on this machine may look. Beyond it there is TLS, with the certificate that the worker has from its
farm, and a token that the farm's Prometheus shows.
"""

import errno
import hmac
import logging
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from farm.carrier.node import is_on_loopback
from farm.carrier.security import TlsFiles
from farm.errors import AddressError
from farm.metrics import Meters

PATH = "/metrics"

_TIMEOUT_SECONDS = 10.0
_CONNECTIONS = 16
"""At once; a Prometheus needs one."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MetricsAccess:
    """What is shown and asked for beyond loopback.

    Attributes:
        tls: The worker's certificate; renewed ones are taken up.
        token: What a caller must show.
    """

    tls: TlsFiles
    token: str


@contextmanager
def serve_metrics(
    address: str, meters: Meters, access: MetricsAccess | None = None, *, or_any_port: bool = False
) -> Iterator[int]:
    """Serves /metrics until the context ends, and gives the port.

    Args:
        address: Where to listen, "host:port"; port 0 takes any free one.
        meters: What is served.
        access: Needed beyond loopback, and used only there.
        or_any_port: Whether any free port does if that one is taken.

    Raises:
        AddressError: The address cannot be used, or is open to others and there is no certificate.
    """
    host, _, port = address.rpartition(":")
    is_local = is_on_loopback(address)
    if not is_local and access is None:
        raise AddressError(
            f"Metrics at {address} would be open to other machines, and this worker has no certificate to serve them "
            "with. Join a farm with the line from `farm workers invite`, or use --metrics-listen 127.0.0.1:0.",
            address=address,
        )
    app = meters.wsgi_app()
    if access is not None and not is_local:
        app = _guarded(app, access.token)
    start = partial(_Server, app=app, context=None if is_local or access is None else _context(access.tls))
    try:
        try:
            server = start((host, int(port)))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not or_any_port:
                raise
            server = start((host, 0))
            _log.warning(
                "metrics.port_taken address=%s instead=%d next='the farm tells Prometheus of it; a firewall must "
                "let it through'",
                address,
                server.server_port,
            )
    except (OSError, ValueError, OverflowError) as error:
        raise AddressError(
            f"Metrics cannot be served at {address} ({error}). Choose another host:port with --metrics-listen; port 0 "
            "takes any that is free.",
            address=address,
        ) from None
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a connection, and no more than a few."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, address: tuple[str, int], app: WSGIApplication, context: Callable[[], ssl.SSLContext] | None
    ) -> None:
        self._context = context
        self._places = threading.Semaphore(_CONNECTIONS)
        super().__init__(address, _Handler)
        self.set_app(app)

    def server_bind(self) -> None:
        """Binds, without asking the network what this machine is called."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # of IPv4 only
        self.setup_environ()

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - as in the class above
        """Turns away whom there is no place for."""
        return self._places.acquire(blocking=False)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answers, on the connection's thread; so is the TLS handshake."""
        try:
            request.settimeout(_TIMEOUT_SECONDS)
            if self._context is None:
                super().finish_request(request, client_address)
                return
            with self._context().wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as in the class above
        """A caller that hangs up or speaks no TLS is nothing to tell of."""
        _log.debug("metrics.call_failed caller=%s", client_address, exc_info=True)


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has in the class above
        """Scrapes are not logged."""


def _guarded(app: WSGIApplication, token: str) -> WSGIApplication:
    expected = f"Bearer {token}".encode()

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        shown = str(environ.get("HTTP_AUTHORIZATION", "")).encode(errors="replace")
        if hmac.compare_digest(shown, expected):
            return app(environ, start_response)
        start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Type", "text/plain")])
        return [b"The farm's scrape token is needed: Authorization: Bearer ...\n"]

    return guarded


def _context(files: TlsFiles) -> Callable[[], ssl.SSLContext]:
    """Gives a context with the certificate that the files hold now."""
    made: dict[int, ssl.SSLContext] = {}

    def current() -> ssl.SSLContext:
        version = files.certificate.stat().st_mtime_ns
        if version not in made:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(files.certificate, files.key)
            made.clear()
            made[version] = context
        return made[version]

    return current
