"""The local socket by which a bridge reaches the daemon: only this user's processes, on this machine."""

import logging
import queue
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Listener
from pathlib import Path

from farm.carrier.messages import Message, decode

_FLUSH_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Connected:
    """A bridge is there."""

    bridge: "BridgeConnection"


@dataclass(frozen=True, slots=True)
class Heard:
    """The coordinator said something over a bridge."""

    bridge: "BridgeConnection"
    message: Message


@dataclass(frozen=True, slots=True)
class Gone:
    """A bridge is gone."""

    bridge: "BridgeConnection"


Tell = Callable[[Connected | Heard | Gone], None]


class BridgeConnection:
    """A connection to a bridge. Nothing waits for it: reading and writing have a thread each.

    Args:
        connection: To the bridge.
        tell: Called on the reading thread with what is heard, and with the end.
    """

    def __init__(self, connection: Connection, tell: Tell) -> None:
        self._connection = connection
        self._tell = tell
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="bridge-writer", daemon=True)
        self._writer.start()
        threading.Thread(target=self._read, name="bridge-reader", daemon=True).start()

    @property
    def backlog(self) -> int:
        """How many messages wait to be written."""
        return self._outgoing.qsize()

    def send(self, data: bytes) -> None:
        """Sends a message behind those before it; it is lost if the bridge is gone."""
        self._outgoing.put(data)

    def close(self, *, flush: bool = False) -> None:
        """Ends the connection; with `flush`, what was sent before is written first, for a second at most."""
        self._outgoing.put(None)
        if flush:
            self._writer.join(_FLUSH_SECONDS)
        with suppress(OSError), socket.socket(fileno=self._connection.fileno()) as half:
            try:
                half.shutdown(socket.SHUT_RDWR)  # wakes both threads; the reading one closes
            finally:
                half.detach()

    def _write(self) -> None:
        with suppress(OSError):  # it is gone; the reader tells
            while (data := self._outgoing.get()) is not None:
                self._connection.send_bytes(data)

    def _read(self) -> None:
        self._tell(Connected(self))
        try:
            while True:
                self._tell(Heard(self, decode(self._connection.recv_bytes())))
        except (EOFError, OSError):
            pass
        except ValueError as error:
            # What it said is lost, so no more is heard over this bridge; the next one says again what matters.
            _log.error(
                "bridge.not_understood reason=%r next='the bridge is made anew; if this goes on, the coordinator runs "
                "another version of the farm: install the same one here'",
                str(error),
            )
            self.close()
        self._tell(Gone(self))
        self._outgoing.put(None)
        self._writer.join()
        self._connection.close()


def listen(path: Path, tell: Tell) -> Listener:
    """Accepts bridges on a socket from now on, until the listener is closed.

    Raises:
        OSError: The socket cannot be made.
    """
    listener = Listener(str(path), "AF_UNIX")

    def accept() -> None:
        with suppress(OSError):  # closed
            while True:
                BridgeConnection(listener.accept(), tell)

    threading.Thread(target=accept, name="bridge-listener", daemon=True).start()
    return listener
