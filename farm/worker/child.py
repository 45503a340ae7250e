"""A running pipeline process, as its host holds it."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

from farm.worker.messages import Order, Settings, Stop, Word

_STOP_SECONDS = 2.0
_KILL_SECONDS = 5.0


class Child:
    """Starts a pipeline process and talks to it. No method waits for it but `stop` and `end`.

    Reading and writing have a thread each, because either may last: an order with a picture in it does not fit the
    socket's buffer, and the process reads between steps only; a picture from it may stop half-way when it hangs.

    The process is a fresh interpreter (Core ML does not survive a fork) that finds modules where this one does. It has
    its own process group, so Ctrl-C in the terminal is for its host alone; it ends with its host, whose end of
    the process's standard input closes in any case.

    Args:
        settings: The first thing to say to it.
        on_word: Called on a thread of this object with each word of it.
        on_end: Called on a thread of this object, once, when it is gone.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(
        self, settings: Settings, on_word: Callable[["Child", Word], None], on_end: Callable[["Child"], None]
    ) -> None:
        self._on_word = on_word
        self._on_end = on_end
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "farm.worker.pipeline_process", str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=2,  # what a library prints there must not mix with what a command prints
                pass_fds=[theirs.fileno()],
                process_group=0,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            self._connection = Connection(ours.detach())
        self._orders: queue.SimpleQueue[Settings | Order | None] = queue.SimpleQueue()
        self._orders.put(settings)
        self._threads = [
            threading.Thread(target=target, name=f"pipeline-{name}", daemon=True)
            for name, target in (("writer", self._write), ("reader", self._read))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, order: Order) -> None:
        """Sends an order; it is lost if the process is gone, which `on_end` tells."""
        self._orders.put(order)

    def stop(self) -> None:
        """Asks the process to end, and sees to it that it does."""
        self.send(Stop())
        self.end(_STOP_SECONDS)

    def end(self, patience: float) -> str:
        """Waits so many seconds for the process to end by itself, then ends it; says how it ended, in words."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self._process.kill()
        try:
            code = self._process.wait(_KILL_SECONDS)
        except subprocess.TimeoutExpired:
            # It hangs in a driver. Its threads and connection are left to it: there is nothing to wait for.
            return f"does not end even when killed (process {self.pid})"
        self._orders.put(None)
        for thread in self._threads:
            thread.join()
        self._connection.close()
        if self._process.stdin:
            self._process.stdin.close()
        return f"was ended by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exited with code {code}"

    def _write(self) -> None:
        with suppress(OSError):  # it is gone; the reader tells
            while (order := self._orders.get()) is not None:
                self._connection.send(order)

    def _read(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._on_word(self, self._connection.recv())
        self._on_end(self)
