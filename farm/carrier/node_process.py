"""A node of Ray as a child process.

It does what `ray start --block` does, with the class behind that command, because the command turns a loopback address
into the machine's outer one (Ray 2.60, services.canonicalize_bootstrap_address), starts four processes that nothing
here needs, and outlives whoever started it. This process ends with its parent, and Ray's processes with it: by the
kernel on Linux, by Ray's reaper on macOS.
"""

import os
import tempfile
from contextlib import nullcontext, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from filelock import FileLock

from farm.carrier.node import RENDER, NodeSettings, Up
from farm.child import connect_to_parent
from farm.scratch import SHORT, scratch_folder

_LOOK_SECONDS = 0.1
_OBJECT_STORE_BYTES = 80 << 20
"""Close to the least that Ray accepts; messages travel past its object store."""


def _node(settings: NodeSettings, folder: Path) -> Any:
    """Starts Ray's processes, which takes seconds; their sockets and logs are in `folder`.

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
        temp_dir=str(folder),
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
    with scratch_folder("farm-ray", SHORT) as folder:
        _run(settings, connection, folder)


def _run(settings: NodeSettings, connection: Connection, folder: Path) -> None:
    # Ray gives a node 30 s to start, which two that start at the same time on a busy machine do not keep. The head does
    # not wait for its turn, as the nodes wait for it.
    turn = FileLock(Path(tempfile.gettempdir()) / f"farm-ray-{os.getuid()}.lock")
    with nullcontext() if settings.is_head else turn:
        node = _node(settings, folder)
    with suppress(OSError):
        connection.send(Up())
    _watch(node, connection)
    died = [name for name, _ in node.dead_processes()]
    # Without its node nothing of it has anything to end in order, and its parent waits to start the next one.
    node.kill_all_processes(check_alive=False, allow_graceful=not died)
    if died:
        raise SystemExit(f"Ray's {' and '.join(died)} died")


if __name__ == "__main__":
    main()
