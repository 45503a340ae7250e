"""The bridge: a thin actor on a worker's machine that carries messages between Ray's driver and the worker's daemon.

It knows no message. Whatever it holds when it dies is sent again: by the daemon, which keeps what matters until that is
acknowledged, and by the coordinator, which learns from the daemon's next greeting what it holds.
"""

import os
import queue
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Client

SOCKET = "FARM_WORKER_SOCKET"
"""Environment variable with the path of the daemon's socket. Ray's node passes it on to the processes it starts."""

WAIT_SECONDS = 1.0
"""`receive` answers at least so often, so that a call that does not come back shows."""

DRIVER_PATIENCE = 10.0
"""Without a call for so long, there is no driver any more."""

_LAST_WORDS_SECONDS = 2.0
_BATCH_BYTES = 4 << 20


class Bridge:
    """Carries between a driver, which calls it, and the daemon's socket on this machine.

    The process ends itself when the daemon is gone or no driver calls any more. When only Ray's node on this machine
    dies, it serves on until another bridge has taken its place.

    Raises:
        OSError: There is no daemon.
    """

    def __init__(self) -> None:
        self._connection = Client(os.environ[SOCKET])
        self._arrived: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._called = time.monotonic()
        threading.Thread(target=self._listen, name="listen", daemon=True).start()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def receive(self) -> tuple[bool, list[bytes]]:
        """Waits a second at most for messages of the daemon; says whether it is still there, and what came."""
        self._called = time.monotonic()
        messages: list[bytes] = []
        size = 0
        try:
            message = self._arrived.get(timeout=WAIT_SECONDS)
            while message is not None:
                messages.append(message)
                size += len(message)
                if size >= _BATCH_BYTES:
                    return True, messages
                message = self._arrived.get_nowait()
        except queue.Empty:
            return True, messages
        threading.Timer(_LAST_WORDS_SECONDS, os._exit, (0,)).start()
        return False, messages

    def send(self, messages: Sequence[bytes]) -> None:
        """Passes messages on to the daemon. They are lost if it is gone, which `receive` tells."""
        try:
            for message in messages:
                self._connection.send_bytes(message)
        except OSError:
            self._arrived.put(None)

    def _listen(self) -> None:
        try:
            while True:
                self._arrived.put(self._connection.recv_bytes())
        except (EOFError, OSError):
            self._arrived.put(None)

    def _watch(self) -> None:
        while time.monotonic() - self._called < DRIVER_PATIENCE:
            time.sleep(DRIVER_PATIENCE / 10)
        os._exit(0)
