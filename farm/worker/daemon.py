"""The daemon of a worker: the long-lived service on a Mac. It has the renderer, and gives nothing up that is finished.

Everything happens on one thread, whatever comes reaches it through one queue, and it waits for nothing else. Bridges to
the coordinator come and go; what must not be lost is kept in the outbox until the coordinator says that it is taken,
and is offered again to each new bridge, after a greeting that says which attempts are still held here.
"""

import logging
import queue
import time
from collections import deque
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet

from farm.carrier.messages import (
    Acknowledge,
    Beat,
    Cancel,
    Farewell,
    FromDaemon,
    Hello,
    KeptReport,
    Message,
    Refusal,
    Refused,
    Release,
    Replaced,
    Told,
    encode,
)
from farm.domain import Assignment, AttemptKey, AttemptState
from farm.errors import FarmError, VersionMismatchError, WorkerNameTakenError
from farm.renderer import Renderer
from farm.reports import (
    AttemptReport,
    DeviceReport,
    FactsReport,
    ImageFailureReport,
    ImageReport,
    Report,
    ResidencyReport,
)
from farm.worker.bridge_socket import BridgeConnection, Connected, Gone, Heard
from farm.worker.messages import Stop
from farm.worker.outbox import Outbox, OutboxFullError

BEAT_SECONDS = 2.0
"""Between two signs of life; a third of a lease."""

WINDOW_COUNT = 64
WINDOW_BYTES = 8 << 20
"""How much is on its way at most that is not yet acknowledged, so that a slow coordinator fills no memory."""

BACKLOG = 200
"""With so many messages waiting for the socket, those that may be lost are."""

UNREADABLE_SECONDS = 60.0
"""A finished report that its disk did not give for so long is given up, and what it was of is rendered again."""

STOP_SECONDS = 5.0
"""How long a daemon that is stopped waits for the coordinator to take what is finished."""

Inbox = queue.SimpleQueue[Report | Connected | Heard | Gone | Stop]

_ERRORS: Mapping[Refusal, type[FarmError]] = {
    Refusal.NAME_TAKEN: WorkerNameTakenError,
    Refusal.VERSION_MISMATCH: VersionMismatchError,
}

_log = logging.getLogger(__name__)


class Daemon:
    """Renders what the coordinator assigns, over whichever bridge came last.

    Args:
        worker_id: The machine's name in the farm.
        origin: Identity of the folder of this worker.
        renderer: Renders; started and stopped here.
        outbox: What earlier processes finished is offered first.
        inbox: What happens. `Stop` ends `run`.
    """

    def __init__(self, worker_id: str, origin: str, renderer: Renderer, outbox: Outbox, inbox: Inbox) -> None:
        self._worker_id = worker_id
        self._origin = origin
        self._renderer = renderer
        self._outbox = outbox
        self._inbox = inbox
        self._bridge: BridgeConnection | None = None
        self._held = outbox.attempts()
        self._rendering: set[AttemptKey] = set()  # held, and the renderer has not said their end yet
        self._unreadable_since: float | None = None  # the next report that is waiting
        self._waiting: deque[int] = deque()  # what this bridge was not offered yet
        self._in_flight: dict[int, int] = {}  # what it was, with sizes, and is not acknowledged
        self._refused: Refused | None = None
        self._device = DeviceReport()
        self._residency = ResidencyReport(())

    @property
    def has_bridge(self) -> bool:
        """Whether a bridge is connected; may be asked on any thread."""
        return self._bridge is not None

    def run(self) -> None:
        """Works until it is told to stop; then ends in order, within about ten seconds.

        Raises:
            WorkerNameTakenError: Another worker has its name.
            VersionMismatchError: The coordinator cannot read its greeting.
        """
        self._end_attempts("the worker's daemon ended while they were rendered")
        self._renderer.start(self._inbox.put)
        beat_at = 0.0
        while self._refused is None:
            try:
                message = self._inbox.get(timeout=max(0.0, beat_at - time.monotonic()))
            except queue.Empty:
                message = None
            if isinstance(message, Stop):
                break
            if message is not None:
                self._take(message)
            if time.monotonic() >= beat_at:
                self._say(Beat())
                self._mend()
                beat_at = time.monotonic() + BEAT_SECONDS
        self._wind_up()
        if self._refused is not None:
            raise _ERRORS[self._refused.refusal](self._refused.reason, worker=self._worker_id)

    def _take(self, message: Report | Connected | Heard | Gone) -> None:
        match message:
            case Connected(bridge):
                self._greet(bridge)
            case Gone(bridge):
                if bridge is self._bridge:
                    self._bridge = None
                    _log.info("daemon.bridge_lost kept=%d", len(self._outbox.numbers()))
            case Heard(bridge, said):
                if bridge is self._bridge:
                    self._obey(said)
            case ImageReport() | ImageFailureReport() | AttemptReport():
                self._keep(message)
            case _:
                self._mention(message)

    def _greet(self, bridge: BridgeConnection) -> None:
        if self._bridge is not None:
            self._say(Replaced())
            self._bridge.close(flush=True)
        self._bridge = bridge
        self._waiting = deque(self._outbox.numbers())
        self._in_flight.clear()
        self._unreadable_since = None
        _log.info("daemon.bridge_connected kept=%d attempts=%d", len(self._waiting), len(self._held))
        self._say(Hello(self._worker_id, self._origin, self._renderer.facts, frozenset(self._held)))
        self._say(Told(self._residency))
        if self._device.reason:
            self._say(Told(self._device))
        self._offer()

    def _obey(self, said: Message) -> None:
        match said:
            case Assignment(key):
                if key not in self._held:
                    self._held.add(key)
                    self._rendering.add(key)
                    self._renderer.render(said)
            case Cancel(key):
                self._renderer.cancel(key)
            case Release(key):
                self._renderer.release(key)
            case Acknowledge(number):
                self._in_flight.pop(number, None)
                ended = self._outbox.remove(number)
                if ended is not None:
                    self._held.discard(ended)
                self._offer()
            case Refused():
                self._refused = said

    def _keep(self, report: KeptReport) -> None:
        if isinstance(report, AttemptReport):
            self._rendering.discard(report.key)
        try:
            self._waiting.append(self._outbox.put(report))
        except OutboxFullError as error:
            # The rest of the attempt is given back, and the image with it.
            _log.error("daemon.image_dropped index=%s reason=%r", getattr(report, "index", None), str(error))
            self._renderer.release(report.key, f"the rest was given back, as {error}")
        self._offer()

    def _mention(self, report: Report) -> None:
        if isinstance(report, DeviceReport):
            self._device = report
        elif isinstance(report, ResidencyReport):
            self._residency = report
        elif not isinstance(report, FactsReport) and self._bridge is not None and self._bridge.backlog > BACKLOG:
            return
        self._say(Told(report))

    def _offer(self) -> None:
        """Sends what is kept, as far as the window allows."""
        while (
            self._bridge is not None
            and self._waiting
            and len(self._in_flight) < WINDOW_COUNT
            and sum(self._in_flight.values()) < WINDOW_BYTES
        ):
            number = self._waiting[0]
            try:
                data = self._outbox.get(number)
            except OSError as error:
                if not self._is_given_up(error):
                    return  # those behind it wait, too: an end must not come before its images
                self._outbox.remove(number)
                data = None
            self._unreadable_since = None
            self._waiting.popleft()
            if data is not None:
                self._in_flight[number] = len(data)
                self._bridge.send(data)

    def _is_given_up(self, error: OSError) -> bool:
        """Whether the report that waits first could not be read for too long."""
        now = time.monotonic()
        if self._unreadable_since is None:
            self._unreadable_since = now
            _log.warning("daemon.report_not_read reason=%r next='it is tried again'", error.strerror)
        return now - self._unreadable_since >= UNREADABLE_SECONDS

    def _mend(self) -> None:
        """Offers what could not be read before, and ends attempts whose end the outbox lost: no other would come."""
        self._offer()
        self._end_attempts("the worker's disk lost how they ended", self._rendering)

    def _say(self, message: FromDaemon) -> None:
        if self._bridge is not None:
            self._bridge.send(encode(message))

    def _end_attempts(self, reason: str, still_rendered: AbstractSet[AttemptKey] = frozenset()) -> None:
        """Says of every attempt that is held and not rendered any more that it is over."""
        unended: Collection[AttemptKey] = self._held - self._outbox.ended() - still_rendered
        for key in sorted(unended):
            self._keep(AttemptReport(key, AttemptState.ABANDONED, reason))

    def _wind_up(self) -> None:
        self._renderer.stop()
        deadline = time.monotonic() + STOP_SECONDS
        is_ended = False
        while not is_ended or (self.has_bridge and self._outbox.numbers()):
            try:
                # What the renderer said last comes first, then the ends of what it was stopped in.
                message = self._inbox.get(timeout=max(0.0, deadline - time.monotonic()) if is_ended else 0.0)
            except queue.Empty:
                if is_ended:
                    break
                is_ended = True
                self._end_attempts("the worker was stopped")
                continue
            if not isinstance(message, Stop):
                self._take(message)
        self._say(Farewell("it was stopped"))
        if self._bridge is not None:
            self._bridge.close(flush=True)
        _log.info("daemon.stopped kept=%d", len(self._outbox.numbers()))
