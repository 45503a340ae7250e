"""A node of Ray as the farm starts it: the head beside the coordinator, and one on each worker's machine."""

import errno
import ipaddress
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from farm.carrier.security import RaySecurity
from farm.child import Child
from farm.errors import AddressError

LOOPBACK = "127.0.0.1"

RENDER = "render"
"""Ray's name for what a worker's machine has one of: the right to render there."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What a node of Ray must know.

    Attributes:
        address: Where the head listens, HOST:PORT.
        is_head: Whether to be the head.
        node_ip: Address of this machine by which the others reach it.
        environment: Variables for Ray's processes: `ray_environment`, a daemon's socket.
    """

    address: str
    is_head: bool
    node_ip: str = LOOPBACK
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Up:
    """The node is registered with the head."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The node is to end in order."""


NodeChild = Child[NodeSettings | Stop, Up]

_RESTART_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)

_TUNING: Mapping[str, str] = {
    # Ray's workers would run at nice 15, and messages would wait behind everything else.
    "RAY_worker_niceness": "0",
    # Results up to this size come in the answer itself rather than through the object store: 500 KB take 0.9 ms
    # instead of 7.8 (measured on loopback).
    "RAY_max_direct_call_object_size": str(16 << 20),
    "RAY_task_rpc_inlined_bytes_limit": str(256 << 20),
    # When a node dies, its bridge serves on until the next node's has taken its place; Ray would end it within 1 s
    # (CoreWorker::ExitIfParentRayletDies).
    "RAY_raylet_death_check_interval_milliseconds": "60000",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def ray_environment(address: str, security: RaySecurity) -> Mapping[str, str]:
    """Variables of every process of Ray that the farm starts, drivers too.

    Args:
        address: Where the head listens, HOST:PORT.
        security: How Ray's processes know each other.
    """
    # Pure loopback, whatever other interfaces the machine has, or the addresses that each is told
    # (services.get_node_ip_address). Macs join at all only with the latter.
    reach = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0" if is_on_loopback(address) else "1"}
    return {**_TUNING, **reach, **security.environment()}


def is_on_loopback(address: str) -> bool:
    """Whether only this machine can reach a head there. Addresses of Ray are numbers, never names."""
    return address.rpartition(":")[0] == LOOPBACK


def check_address(address: str, security: RaySecurity) -> None:
    """Lets an address pass on which Ray is safe: loopback, or with TLS any.

    Args:
        address: Where Ray's head listens, HOST:PORT.
        security: How Ray's processes know each other.

    Raises:
        AddressError: Ray would be open to others there, or it is no address.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 2**16 or not _is_number(host):
        raise AddressError(
            f"{address!r} is not an address for Ray's head. Write a numeric one with a port, like 127.0.0.1:7434 or "
            "192.168.1.5:7434."
        )
    if not is_on_loopback(address) and security.tls is None:
        raise AddressError(
            f"Ray's head at {address} would be open to other machines, and whoever reaches Ray can run any code there. "
            "Beyond loopback Ray needs the farm's certificates: start the coordinator with --listen, and join workers "
            f"with the line that `farm workers invite` prints; or use {LOOPBACK}:{port}."
        )


def _is_number(host: str) -> bool:
    try:
        return not ipaddress.IPv4Address(host).is_unspecified
    except ValueError:
        return False


def is_taken(address: str) -> bool:
    """Whether something listens on an address of this machine, HOST:PORT, so that a head cannot."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_server((host, int(port))).close()
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def own_ip(address: str) -> str:
    """This machine's address as those at `address` see it, which need not listen.

    Args:
        address: HOST:PORT.

    Raises:
        OSError: There is no way there.
    """
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, int(port)))  # sends nothing
        ip: str = probe.getsockname()[0]
        return ip


def restart_delay(failures: int) -> float:
    """Seconds until a process of Ray's is started again, after so many failures in a row."""
    return _RESTART_SECONDS[min(failures, len(_RESTART_SECONDS) - 1)]


def start_node(
    settings: NodeSettings, on_up: Callable[[NodeChild], object], on_end: Callable[[NodeChild], object]
) -> NodeChild:
    """Starts a node; `on_up` and `on_end` are called on a thread of the child's.

    Raises:
        OSError: The process cannot be started.
    """
    return NodeChild("farm.carrier.node_process", settings, lambda child, _: on_up(child), on_end, settings.environment)
