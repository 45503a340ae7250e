"""A node of Ray as a child process: the head beside the coordinator, and the node on each worker's machine.

It does what `ray start --block` does, with the class behind that command, because the command turns a loopback address
into the machine's outer one (Ray 2.60, services.canonicalize_bootstrap_address), starts four processes that nothing
here needs, and outlives whoever started it. This process ends with its parent, and Ray's processes with it: by the
kernel on Linux, by Ray's reaper on macOS.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from filelock import FileLock

from farm.child import Child, connect_to_parent

LOOPBACK = "127.0.0.1"

RENDER = "render"
"""Ray's name for what a worker's machine has one of: the right to render there."""

_LOOK_SECONDS = 0.1
_OBJECT_STORE_BYTES = 80 << 20
"""Close to the least that Ray accepts; messages travel past its object store."""


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
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Variables of every process of Ray that the farm starts, drivers too. They hold for loopback."""


def start_node(
    settings: NodeSettings, on_up: Callable[[NodeChild], None], on_end: Callable[[NodeChild], None]
) -> NodeChild:
    """Starts a node; `on_up` and `on_end` are called on a thread of the child's.

    Raises:
        OSError: The process cannot be started.
    """
    environment = {**RAY_ENVIRONMENT, **settings.environment}
    return NodeChild("farm.carrier.node_process", settings, lambda child, _: on_up(child), on_end, environment)


def _node(settings: NodeSettings) -> Any:
    """Starts Ray's processes, which takes seconds.

    Raises:
        Exception: Ray's own, of many kinds.
    """
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    host, _, port = settings.address.rpartition(":")
    particular: dict[str, object] = (
        {"gcs_server_port": int(port), "include_dashboard": False, "no_monitor": True}
        if settings.is_head
        else {"gcs_address": f"{host}:{port}", "resources": {RENDER: 1}}
    )
    parameters = RayParams(
        node_ip_address=settings.node_ip,
        num_cpus=0,
        num_gpus=0,
        include_log_monitor=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        min_worker_port=0,
        max_worker_port=0,
        **particular,
    )
    return Node(parameters, head=settings.is_head)


def _watch(node: Any, connection: Connection) -> None:
    """Returns when the parent says so or a process of the node has died."""
    while not node.dead_processes():
        if connection.poll(_LOOK_SECONDS):
            return


def main() -> None:
    """Entry point of the child."""
    connection = connect_to_parent()
    settings: NodeSettings = connection.recv()
    # Ray gives a node 30 s to start, which two that start at the same time on a busy machine do not keep.
    with FileLock(Path(tempfile.gettempdir()) / f"farm-ray-{os.getuid()}.lock"):
        node = _node(settings)
    with suppress(OSError):
        connection.send(Up())
    _watch(node, connection)
    died = [name for name, _ in node.dead_processes()]
    node.kill_all_processes(check_alive=False, allow_graceful=True)
    if died:
        raise SystemExit(f"Ray's {' and '.join(died)} died")


if __name__ == "__main__":
    main()
