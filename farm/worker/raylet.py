"""Keeps this machine's Ray node alive: started when Ray's head can be reached, and again whenever it is of no use.

What Ray says of its own health is not relied on. A node is made anew when its process ends, when the head was gone in
between (the new head does not know it), and when no bridge has come over it for long, whatever the reason.
"""

import logging
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping

from farm.carrier.node import NodeChild, NodeSettings, Stop, own_ip, restart_delay, start_node

LOOK_SECONDS = 0.5
"""Between two looks at the head; less than it takes a head to be started again."""

LONELY_SECONDS = 20.0
"""A bridge has come over a new node in about a second, and the coordinator gives up after 20 s and tries again."""

HEADLESS_SECONDS = 60.0
"""Without a head for so long, it may be somewhere else now."""

SEEK_SECONDS = 180.0
"""Between two questions where it is."""

_CONNECT_SECONDS = 1.0
_STOP_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Raylet:
    """The Ray node of a worker, supervised on a thread of its own.

    Args:
        address: Where Ray's head listens, HOST:PORT.
        environment: Variables for Ray's processes.
        has_bridge: Says whether the coordinator reaches the daemon.
        prepare: Called with this machine's address before a node is started; sees to it that the files which prove this
            machine fit that address.
        seek: Called when the head could not be reached for long, and every few minutes from then on; asks where it is.
        lonely_seconds: A node over which no bridge has come for so long is made anew.
    """

    def __init__(
        self,
        address: str,
        environment: Mapping[str, str],
        has_bridge: Callable[[], bool],
        prepare: Callable[[str], None] = lambda _: None,
        seek: Callable[[], None] = lambda: None,
        lonely_seconds: float = LONELY_SECONDS,
    ) -> None:
        self._address = address
        self._environment = environment
        self._has_bridge = has_bridge
        self._prepare = prepare
        self._seek = seek
        self._lonely_seconds = lonely_seconds
        self._happened: queue.SimpleQueue[tuple[str, NodeChild | None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="raylet", daemon=True)
        self._child: NodeChild | None = None
        self._head_was_gone = False
        self._failures = 0  # since a bridge came
        self._start_at = 0.0
        self._seek_at = time.monotonic() + HEADLESS_SECONDS
        self._lonely_at: float | None = None  # None: the node is not up yet

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends Ray's processes, within a few seconds."""
        self._happened.put(("stop", None))
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                what, child = self._happened.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                self._look()
                continue
            if what == "stop":
                if self._child is not None:
                    _log.info("raylet.stopped how=%r", self._close(self._child))
                return
            if child is self._child:
                self._note(what)
                self._look()

    def _note(self, what: str) -> None:
        if what == "up":
            self._lonely_at = time.monotonic() + self._lonely_seconds
            _log.info("raylet.up address=%s", self._address)
        else:
            self._end_child("it ended")

    def _look(self) -> None:
        head = reach(self._address)
        self._head_was_gone |= head is False
        self._look_elsewhere(bool(head))
        if self._has_bridge():
            self._failures = 0
            if self._lonely_at is not None:
                self._lonely_at = time.monotonic() + self._lonely_seconds
        if self._child is None:
            if head and time.monotonic() >= self._start_at:
                self._start_child()
        elif self._head_was_gone and self._lonely_at is None:
            self._end_child("Ray's head went while it started")
        elif self._head_was_gone:
            if head:
                self._failures = 0
                self._end_child("Ray's head was started again")
                self._start_child()
        elif self._lonely_at is not None and time.monotonic() >= self._lonely_at:
            self._end_child("the coordinator does not come over it")

    def _look_elsewhere(self, is_reached: bool) -> None:
        now = time.monotonic()
        if is_reached or self._has_bridge():
            self._seek_at = now + HEADLESS_SECONDS
        elif now >= self._seek_at:
            _log.error(
                "raylet.no_head address=%s next='nothing is rendered until Ray answers there: see that the coordinator "
                "runs and that this machine reaches it; the farm is asked for another address meanwhile'",
                self._address,
            )
            self._seek()
            self._seek_at = time.monotonic() + SEEK_SECONDS

    def _start_child(self) -> None:
        self._head_was_gone = False
        self._lonely_at = None
        try:
            ip = own_ip(self._address)
            self._prepare(ip)
            self._child = start_node(
                NodeSettings(self._address, is_head=False, node_ip=ip, environment=self._environment),
                on_up=lambda child: self._happened.put(("up", child)),
                on_end=lambda child: self._happened.put(("end", child)),
            )
        except OSError as error:
            self._back_off(f"it cannot be started ({error})")

    def _end_child(self, reason: str) -> None:
        if self._child is not None:
            how = self._close(self._child)
            self._child = None
            self._back_off(f"{reason}; its process {how}")

    def _close(self, child: NodeChild) -> str:
        return child.end(0.0) if self._lonely_at is None else child.stop(Stop(), _STOP_SECONDS)

    def _back_off(self, reason: str) -> None:
        seconds = restart_delay(self._failures)
        self._failures += 1
        self._start_at = time.monotonic() + seconds
        _log.warning("raylet.ended reason=%r next_in_seconds=%.0f", reason, seconds)


def reach(address: str) -> bool | None:
    """Whether something listens there. False only if that machine says no; None if it says nothing."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return None
    return True
