"""A child process of a process of the farm: how it is started, spoken to and ended, and how it finds its parent.

Pipeline processes, Ray's nodes and Ray's driver are such children: each holds a library that must not take the process
down that needs it.
"""

import faulthandler
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Generic, TypeVar

_STOP_SECONDS = 2.0
_KILL_SECONDS = 5.0

Order = TypeVar("Order")
"""What the parent says to the child."""
Word = TypeVar("Word")
"""What the child says to the parent."""


class Child(Generic[Order, Word]):
    """Starts a child process and talks to it. No method waits for it but `stop` and `end`.

    Reading and writing have a thread each, because either may last: an order with a picture in it does not fit the
    socket's buffer, and the process reads when it has the time; a picture from it may stop half-way when it hangs.

    The process is a fresh interpreter (neither Core ML nor Ray survives a fork) that finds modules where this one does.
    It has its own process group, so Ctrl-C in the terminal is for its parent alone; it ends with its parent, whose end
    of the process's standard input closes in any case.

    Args:
        module: What to run; its `main` begins with `connect_to_parent`.
        first: The first thing to say to it.
        on_word: Called on a thread of this object with each word of it.
        on_end: Called on a thread of this object, once, when it is gone.
        environment: Variables for it, beside those of this process.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(
        self,
        module: str,
        first: Order,
        on_word: Callable[["Child[Order, Word]", Word], object],
        on_end: Callable[["Child[Order, Word]"], object],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._on_word = on_word
        self._on_end = on_end
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=2,  # what a library prints there must not mix with what a command prints
                pass_fds=[theirs.fileno()],
                process_group=0,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **(environment or {})},
            )
            self._connection = Connection(ours.detach())
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._orders.put(first)
        name = module.rpartition(".")[2]
        self._threads = [
            threading.Thread(target=target, name=f"{name}-{purpose}", daemon=True)
            for purpose, target in (("writer", self._write), ("reader", self._read))
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

    def stop(self, last: Order, patience: float = _STOP_SECONDS) -> str:
        """Asks the process to end by a last order, and sees to it that it does; returns as `end` does."""
        self.send(last)
        return self.end(patience)

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


def connect_to_parent() -> Connection:
    """Called once, in the child: its connection to its parent. The process ends at once when its parent is gone."""
    faulthandler.enable()
    threading.Thread(target=_exit_with_parent, name="exit-with-parent", daemon=True).start()
    return Connection(int(sys.argv[1]))


def _exit_with_parent() -> None:
    os.read(0, 1)  # the parent holds the other end and says nothing
    os._exit(1)
