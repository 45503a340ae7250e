"""The engine for a fleet: Ray carries, and nothing that matters depends on it.

Two child processes do what needs Ray, its head and its driver, and both are started again when they end. Workers are
known by their daemons' greetings: a worker is reached over the bridge from which its last greeting came. What gets lost
on the way is of no consequence, since each new greeting says what the worker holds: what it should hold and does not is
sent again, and a worker keeps what it has finished until that is acknowledged. While the engine has no driver, and for
a while afterwards, it says that it is deaf to those who did not greet it yet: their silence is its own fault, and costs
them nothing. Who greeted and falls silent again has its lease and no more: its Mac may be dead.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from farm import installation
from farm.carrier.messages import (
    Acknowledge,
    Beat,
    Cancel,
    Farewell,
    Hello,
    Refusal,
    Refused,
    Release,
    Replaced,
    ToDaemon,
    Told,
    decode,
    encode,
)
from farm.carrier.node import (
    NodeChild,
    NodeSettings,
    Stop,
    check_address,
    is_taken,
    ray_environment,
    restart_delay,
    start_node,
)
from farm.carrier.security import RaySecurity
from farm.coordinator.engine import Deaf, Heartbeat, Joined, Left, Receive, Reported
from farm.coordinator.ray_messages import (
    DriverChild,
    DriverLives,
    DriverSettings,
    DriverUp,
    DriverWord,
    FromNode,
    NodeLost,
    ToNode,
)
from farm.domain import Assignment, AttemptKey
from farm.reports import AttemptReport, DeviceReport

DEAF_SECONDS = 1.0
"""Between two words of an engine that is deaf; well below a lease."""

HUNG_LOOKS = 60
"""Seconds in which this process looked and its driver said nothing, after which that is given up. It speaks several
times a second; so long, since the machine may be very busy."""

_UNREACHABLE = "Ray lost the way to it; what it has is safe there, and it is expected back"
_NAME_TAKEN = (
    'Another worker works under the name "{0}", so this one is refused: each of the two would be taken for the other. '
    "Stop the other one, or have this machine join under a name of its own (`farm worker join ... --name`)."
)
_VERSION_MISMATCH = (
    "The coordinator runs version {0} of the farm and cannot read what this worker says of itself: it is of another "
    "version, and refused. In its folder of the farm, check out what the coordinator runs and run `make demo`; then "
    "start the worker again."
)
_STOP_SECONDS = 5.0
_LOOK_SECONDS = 0.2
_PATIENT_LOOKS = 15
"""Of a port that is taken, before that is told: what a killed coordinator leaves ends within a second or two."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RaySettings:
    """What the engine must know.

    Attributes:
        address: Where Ray's head is to listen, HOST:PORT: the address by which workers reach this machine.
        security: How Ray's processes know each other.
        rejoin_seconds: How long workers have to come back after the engine was deaf, before their leases run. On two
            cores with a load of 13 the second of two workers took 19 s, with one of 17 it took 38.
    """

    address: str
    security: RaySecurity
    rejoin_seconds: float = 60.0


@dataclass(slots=True)
class _Life:
    """How far a child process has come, as the event loop sees it."""

    is_up: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    silent_looks: int = 0
    """A second each, since its last word. Time would count against it while this process itself stands still."""


class RayEngine:
    """Reaches workers through Ray.

    Args:
        settings: Where Ray's head is to be.

    Raises:
        AddressError: Ray would be open to others there, or it is no address.
    """

    def __init__(self, settings: RaySettings) -> None:
        check_address(settings.address, settings.security)
        self._settings = settings
        self._ip = settings.address.rpartition(":")[0]
        self._environment = ray_environment(settings.address, settings.security)
        self._receive: Receive = lambda _: None
        self._tasks: list[asyncio.Task[None]] = []
        self._head: NodeChild | None = None
        self._driver: DriverChild | None = None
        self._hears_since: float | None = None  # None: there is no driver
        self._nodes: dict[str, str] = {}  # by worker
        self._workers: dict[str, str] = {}  # by node
        self._greeted: set[str] = set()  # workers that came over this driver
        self._origins: dict[str, str] = {}  # by worker: who has, or had last, that name
        # What workers were assigned and did not end yet, by worker: what was lost on the way is sent again.
        self._assigned: dict[str, dict[AttemptKey, Assignment]] = {}

    async def start(self, receive: Receive) -> None:
        """Begins to start Ray, which takes some seconds, and returns at once."""
        self._receive = receive
        self._tasks = [asyncio.create_task(self._keep_head()), asyncio.create_task(self._be_deaf())]

    def assign(self, worker_id: str, assignment: Assignment) -> None:
        """Sends images to be rendered."""
        self._assigned.setdefault(worker_id, {})[assignment.key] = assignment
        self._send(worker_id, assignment)

    def cancel(self, worker_id: str, key: AttemptKey) -> None:
        """Tells a worker to stop an attempt at its next step."""
        self._forget(worker_id, key)
        self._send(worker_id, Cancel(key))

    def release(self, worker_id: str, key: AttemptKey) -> None:
        """Tells a worker to finish its image and give the rest of the attempt back."""
        self._forget(worker_id, key)
        self._send(worker_id, Release(key))

    def acknowledge(self, worker_id: str, number: int) -> None:
        """Tells a worker that it need not keep a report any more."""
        self._send(worker_id, Acknowledge(number))

    async def stop(self) -> None:
        """Ends Ray on this machine; workers go on with what they have, and keep it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._driver is not None:
            await asyncio.to_thread(self._driver.end, 0.0)
        if self._head is not None:
            await asyncio.to_thread(self._head.stop, Stop(), _STOP_SECONDS)

    def _forget(self, worker_id: str, key: AttemptKey) -> None:
        self._assigned.get(worker_id, {}).pop(key, None)

    def _send(self, worker_id: str, message: ToDaemon) -> None:
        if (node_id := self._nodes.get(worker_id)) is not None:
            self._send_over(node_id, message)

    def _send_over(self, node_id: str, message: ToDaemon) -> None:
        if self._driver is not None:
            self._driver.send(ToNode(node_id, (encode(message),)))

    async def _keep_head(self) -> None:
        failures = 0
        while True:
            await self._wait_for_port()
            life = _Life()
            try:
                self._head = head = self._start_head(life)
            except OSError as error:
                failures = await self._wait_after("head", error, failures)
                continue
            await _first(life.is_up, life.is_over)
            failures = 0 if life.is_up.is_set() else failures + 1
            if life.is_up.is_set():
                log.info("ray_engine.head_up address=%s", self._settings.address)
                await self._keep_driver(life.is_over)
            how = await asyncio.to_thread(head.end, _STOP_SECONDS)
            log.error("ray_engine.head_lost how=%r", how)
            await asyncio.sleep(restart_delay(failures))

    async def _wait_after(self, what: str, error: OSError, failures: int) -> int:
        """Tells that a child cannot be started, waits until the next try, and returns how many failed by now."""
        seconds = restart_delay(failures)
        log.error(
            "ray_engine.%s_not_started reason=%r next_in_seconds=%.0f next='no worker can come: this machine is out of "
            "processes, files or memory'",
            what,
            str(error),
            seconds,
        )
        await asyncio.sleep(seconds)
        return failures + 1

    async def _wait_for_port(self) -> None:
        """Until Ray's address is free: the head of a coordinator that was killed may still be ending there."""
        looks = 0
        while is_taken(self._settings.address):
            looks += 1
            if looks == _PATIENT_LOOKS:
                log.error(
                    "ray_engine.port_taken address=%s next='no worker can come: stop what listens there, or start the "
                    "coordinator with another --ray-address'",
                    self._settings.address,
                )
            await asyncio.sleep(_LOOK_SECONDS)

    def _start_head(self, life: _Life) -> NodeChild:
        loop = asyncio.get_running_loop()
        return start_node(
            NodeSettings(self._settings.address, is_head=True, node_ip=self._ip, environment=self._environment),
            on_up=lambda _: loop.call_soon_threadsafe(life.is_up.set),
            on_end=lambda _: loop.call_soon_threadsafe(life.is_over.set),
        )

    async def _keep_driver(self, head_is_over: asyncio.Event) -> None:
        """Keeps a driver until the head is over."""
        failures = 0
        while not head_is_over.is_set():
            life = _Life()
            try:
                self._driver = driver = self._start_driver(life)
            except OSError as error:
                failures = await self._wait_after("driver", error, failures)
                continue
            while not (life.is_over.is_set() or head_is_over.is_set() or life.silent_looks > HUNG_LOOKS):
                await _first(life.is_over, head_is_over, seconds=1.0)
                life.silent_looks += life.is_up.is_set()
            if life.silent_looks > HUNG_LOOKS:
                log.error("ray_engine.driver_hung silent_seconds=%d next='another one is started'", life.silent_looks)
            failures = 0 if life.is_up.is_set() else failures + 1
            life.is_over.set()
            self._driver, self._hears_since = None, None
            self._greeted.clear()
            for node_id in list(self._workers):
                self._lose(node_id, None)
            how = await asyncio.to_thread(driver.end, 0.0)
            log.error("ray_engine.driver_lost how=%r", how)
            await asyncio.sleep(restart_delay(failures))

    def _start_driver(self, life: _Life) -> DriverChild:
        loop = asyncio.get_running_loop()
        return DriverChild(
            "farm.coordinator.ray_driver",
            DriverSettings(self._settings.address, self._ip, self._environment),
            on_word=lambda _, word: loop.call_soon_threadsafe(self._hear, life, word),
            on_end=lambda _: loop.call_soon_threadsafe(life.is_over.set),
            environment=self._environment,
        )

    async def _be_deaf(self) -> None:
        while True:
            since = self._hears_since
            if since is None or time.monotonic() - since < self._settings.rejoin_seconds:
                self._receive(Deaf(frozenset(self._greeted)))
            await asyncio.sleep(DEAF_SECONDS)

    def _hear(self, life: _Life, word: DriverWord) -> None:
        if life.is_over.is_set():
            return  # the last words of a driver that was given up
        life.silent_looks = 0
        match word:
            case DriverLives():
                pass
            case DriverUp():
                life.is_up.set()
                self._hears_since = time.monotonic()
                log.info("ray_engine.driver_up")
            case FromNode(node_id, messages):
                for message in messages:
                    self._hear_daemon(node_id, message)
            case NodeLost(node_id, is_daemon_gone, reason):
                self._lose(node_id, reason if is_daemon_gone else None)

    def _hear_daemon(self, node_id: str, data: bytes) -> None:
        try:
            message = decode(data)
        except ValueError as error:
            log.error("ray_engine.not_understood node=%s reason=%r", node_id, str(error))
            if node_id not in self._workers:  # it was a greeting, or there was none that could be read
                refused = Refused(_VERSION_MISMATCH.format(installation.version()), Refusal.VERSION_MISMATCH)
                self._send_over(node_id, refused)
            return
        if isinstance(message, Hello):
            self._welcome(node_id, message)
            return
        worker_id = self._workers.get(node_id)
        if worker_id is None or self._nodes.get(worker_id) != node_id:
            return  # it greeted over another bridge since, and says there again what matters
        match message:
            case Beat():
                self._receive(Heartbeat(worker_id))
            case Told(report, number):
                if isinstance(report, AttemptReport):
                    self._forget(worker_id, report.key)
                self._receive(Reported(worker_id, report, number))
            case Farewell(reason):
                self._lose(node_id, reason)
            case Replaced():
                del self._workers[node_id]  # what becomes of that bridge is of no interest; the next greeting is coming

    def _welcome(self, node_id: str, hello: Hello) -> None:
        if hello.worker_id in self._nodes and self._origins[hello.worker_id] != hello.origin:
            log.warning("ray_engine.name_taken worker=%s node=%s", hello.worker_id, node_id)
            self._send_over(node_id, Refused(_NAME_TAKEN.format(hello.worker_id)))
            return
        self._origins[hello.worker_id] = hello.origin
        self._nodes[hello.worker_id] = node_id
        self._workers[node_id] = hello.worker_id
        self._greeted.add(hello.worker_id)
        assigned = self._assigned.get(hello.worker_id, {})
        lost = [assignment for key, assignment in assigned.items() if key not in hello.attempts]
        self._receive(Joined(hello.worker_id, hello.facts, hello.attempts | {assignment.key for assignment in lost}))
        for assignment in lost:
            self._send(hello.worker_id, assignment)

    def _lose(self, node_id: str, gone_because: str | None) -> None:
        """Forgets the way over a node. With a reason, its worker is gone for certain; else it gets nothing new."""
        worker_id = self._workers.pop(node_id, None)
        if worker_id is None or self._nodes.get(worker_id) != node_id:
            return
        del self._nodes[worker_id]
        if gone_because is None:
            self._receive(Reported(worker_id, DeviceReport(_UNREACHABLE)))
        else:
            self._receive(Left(worker_id, gone_because))


async def _first(*events: asyncio.Event, seconds: float | None = None) -> None:
    """Waits until one of the events is set, or some time is over."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
