"""The web server: uvicorn in the coordinator's process and on its event loop."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace

import uvicorn

from farm.access.access import Access
from farm.access.certificates import Credentials
from farm.access.hosts import open_listener
from farm.api.address import listening_error
from farm.api.reach import Reach
from farm.api.tls import ServerIdentity
from farm.coordinator.admission import Models
from farm.coordinator.coordinator import Coordinator
from farm.errors import AddressError
from farm.scratch import scratch_folder
from farm.web.app import make_app
from farm.web.history import History
from farm.web.live import Live, Owners
from farm.web.scraping import open_scraping, tell_certificates
from farm.web.sessions import Sessions
from farm.web.site import Site
from farm.web.thumbnails import Thumbnails

_GRACE_SECONDS = 1
_BACKLOG = 512


class _Server(uvicorn.Server):
    """uvicorn that leaves signals to whom they belong, the command that runs the farm, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebServer:
    """Serves a farm's page until it is stopped."""

    def __init__(
        self, server: uvicorn.Server, site: Site, tasks: "tuple[asyncio.Task[None], asyncio.Task[None]]", reach: Reach
    ) -> None:
        self._server = server
        self._site = site
        self._serving, self._painting = tasks
        self.reach = reach
        """Where it listens; the port is the real one where 0 was asked for."""

    @property
    def urls(self) -> list[str]:
        """Where a browser finds it, best first."""
        scheme = "http" if self.reach.is_local else "https"
        return [f"{scheme}://{address}/" for address in self.reach.addresses()]

    @classmethod
    async def start(cls, reach: Reach, coordinator: Coordinator, catalogue: Models, access: Access) -> "WebServer":
        """Starts to listen: with TLS, unless only this machine can reach it.

        Args:
            reach: Where to listen; port 0 takes any free one.
            coordinator: What answers for jobs and workers.
            catalogue: What answers for models.
            access: Who may ask.

        Raises:
            AddressError: The address is in use, is not allowed, or is none.
        """
        listener = _listen(reach)
        host, port = reach.address.rpartition(":")[0], listener.getsockname()[1]
        bound = replace(reach, address=f"{host}:{port}")
        history, owners = History(), Owners(coordinator)
        site = Site(
            coordinator=coordinator,
            catalogue=catalogue,
            access=access,
            sessions=Sessions.open(access.folder, access.tokens),
            scrape_token=open_scraping(access),
            history=history,
            owners=owners,
            live=Live(coordinator, history, owners),
            thumbnails=Thumbnails(),
        )
        await history.follow(coordinator)
        identity = None if reach.is_local else ServerIdentity(access.authority, reach.certified_hosts)
        tell_certificates(coordinator, access, identity)
        server = _Server(
            uvicorn.Config(
                make_app(site),
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                ws="none",
                timeout_graceful_shutdown=_GRACE_SECONDS,
                ssl_context_factory=None if identity is None else lambda *_: _context(identity),
            )
        )
        tasks = asyncio.create_task(server.serve([listener])), asyncio.create_task(site.live.run())
        await server.listens.wait()
        return cls(server, site, tasks, bound)

    async def stop(self) -> None:
        """Takes no new requests, and ends those that are open soon."""
        self._site.live.stop()
        self._painting.cancel()
        self._server.should_exit = True
        await self._serving
        self._site.thumbnails.close()


def _listen(reach: Reach) -> socket.socket:
    """Takes the address."""
    if reach.address.startswith("unix:"):
        raise AddressError(
            f"The web page needs a port: {reach.address} is a socket in a folder. Write host:port.",
            address=reach.address,
        )
    try:
        return open_listener(reach.address, _BACKLOG)
    except OSError:
        raise listening_error(reach.address, "--web-listen") from None


def _context(identity: ServerIdentity) -> ssl.SSLContext:
    """TLS with the certificate that holds at each handshake."""
    loaded = identity.current()
    first = context = _loaded(loaded)

    def renew(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        nonlocal loaded, context
        if (current := identity.current()) is not loaded:
            loaded, context = current, _loaded(current)
        connection.context = context

    first.sni_callback = renew
    return first


def _loaded(credentials: Credentials) -> ssl.SSLContext:
    """A context with a certificate; ssl takes it from files only. This one is private, and removed at once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with scratch_folder("farm-web") as folder:
        chain = folder / "chain.pem"
        chain.write_bytes(credentials.key_pem + credentials.certificate_pem)
        context.load_cert_chain(chain)
    return context
