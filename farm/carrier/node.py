"""A node of Ray as the farm starts it: the head beside the coordinator, and one on each worker's machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
        environment: Variables for Ray's processes beside `RAY_ENVIRONMENT`: its token and TLS files, a daemon's socket.
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

RAY_ENVIRONMENT: Mapping[str, str] = {
    # Pure loopback, whatever other interfaces the machine has (services.get_node_ip_address).
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
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
"""Variables of every process of Ray that the farm starts, drivers too. They hold for loopback."""


def check_address(address: str) -> None:
    """Lets only loopback pass.

    Raises:
        AddressError: It is another address, or none.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise AddressError(f"{address!r} is no address of Ray's head. It looks like 127.0.0.1:7434.")
    if host != LOOPBACK:
        raise AddressError(
            f"Ray's head at {address} would be open to other machines, and whoever reaches Ray can run any code there. "
            f"Without TLS and tokens, which are not there yet, workers run on the coordinator's machine only: use "
            f"{LOOPBACK}:{port}."
        )


def start_node(
    settings: NodeSettings, on_up: Callable[[NodeChild], object], on_end: Callable[[NodeChild], object]
) -> NodeChild:
    """Starts a node; `on_up` and `on_end` are called on a thread of the child's.

    Raises:
        OSError: The process cannot be started.
    """
    environment = {**RAY_ENVIRONMENT, **settings.environment}
    return NodeChild("farm.carrier.node_process", settings, lambda child, _: on_up(child), on_end, environment)
