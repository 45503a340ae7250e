"""A server that webhooks go to, which may fail at first."""

import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(slots=True)
class Receiver:
    """What came in, and what it answers: these statuses in turn, then 204."""

    statuses: Sequence[int] = ()
    url: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def receiving(*statuses: int, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Listens until the block ends, with TLS if it is given some."""
    receiver = Receiver(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = (*receiver.statuses, *[204] * (len(receiver.got) + 1))[len(receiver.got)]
            receiver.got.append((dict(self.headers.items()), body))
            self.send_response(status)
            self.send_header("location", "http://127.0.0.1:9/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the library
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        receiver.url = f"{'https' if tls else 'http'}://localhost:{server.server_port}/rendered?studio=1"
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
