"""Ray's driver, in a process of its own: Ray ends its driver when the head is lost, and must not take the API with it.

It puts a bridge on every node that has the right to render, and carries bytes between bridges and the coordinator. It
knows nothing of jobs, and keeps nothing: whatever is lost with it is said again by both sides.
"""

import asyncio
import logging
import os
import queue
import threading
from collections.abc import Awaitable, Iterable
from contextlib import redirect_stdout, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from farm.carrier.bridge import Bridge
from farm.carrier.node import RENDER
from farm.child import connect_to_parent
from farm.coordinator.ray_messages import DriverLives, DriverSettings, DriverUp, DriverWord, FromNode, NodeLost, ToNode

LOOK_SECONDS = 0.25
"""Between two looks at Ray's list of nodes, which takes a millisecond."""

CREATE_SECONDS = 20.0
"""For a bridge to be made and to answer. Ray waits silently and for ever when that cannot be."""

ANSWER_SECONDS = 60.0
"""For a bridge to answer, which it does within a second if it runs. So long, since the machine may be very busy."""

_RETRY_SECONDS = 0.5
_CALLS_AHEAD = 2
"""Calls of `receive` that are under way at a time, so that the next one is there when one is answered."""

_GROUPS = {"receive": 1, "send": 1}


class Driver:
    """Carries between the coordinator and the bridges. Used on one event loop, connected to Ray.

    Args:
        tell: Called with each word for the coordinator.
    """

    def __init__(self, tell: "queue.SimpleQueue[DriverWord]") -> None:
        import ray

        self._tell = tell
        self._nodes: dict[str, asyncio.Task[None]] = {}
        self._bridges: dict[str, Any] = {}
        self._make: Any = ray.remote(concurrency_groups=_GROUPS)(Bridge)

    async def run(self) -> None:
        """Follows the coming and going of nodes until cancelled."""
        import ray

        self._tell.put(DriverUp())
        while True:
            nodes = await asyncio.to_thread(ray.nodes)
            self._tell.put(DriverLives())
            self._follow({node["NodeID"] for node in nodes if node["Alive"] and RENDER in node["Resources"]})
            await asyncio.sleep(LOOK_SECONDS)

    def send(self, order: ToNode) -> None:
        """Sends messages to a node's daemon, if there is a bridge."""
        bridge = self._bridges.get(order.node_id)
        if bridge is not None:
            bridge.send.options(concurrency_group="send").remote(order.messages)

    def _follow(self, alive: Iterable[str]) -> None:
        alive = set(alive)
        for node_id in self._nodes.keys() - alive:
            self._nodes.pop(node_id).cancel()
        for node_id in alive - self._nodes.keys():
            self._nodes[node_id] = asyncio.create_task(self._serve(node_id))

    async def _serve(self, node_id: str) -> None:
        """Keeps a bridge on a node until cancelled."""
        from ray.exceptions import RayError

        while True:
            try:
                await self._carry(node_id)
                self._tell.put(NodeLost(node_id, is_daemon_gone=True, reason="its daemon ended"))
            except (RayError, TimeoutError) as error:
                reason = str(error).strip().partition("\n")[0] or "its bridge does not answer"
                self._tell.put(NodeLost(node_id, is_daemon_gone=False, reason=reason))
            except asyncio.CancelledError:
                self._tell.put(NodeLost(node_id, is_daemon_gone=False, reason="Ray's node is dead"))
                raise
            await asyncio.sleep(_RETRY_SECONDS)

    async def _carry(self, node_id: str) -> None:
        """Makes a bridge and takes what comes over it; returns when the daemon is gone."""
        import ray

        bridge = self._make.options(
            num_cpus=0,
            resources={RENDER: 1},
            label_selector={"ray.io/node-id": node_id},
            max_restarts=0,
            max_task_retries=0,
        ).remote()

        def receive() -> Awaitable[tuple[bool, list[bytes]]]:
            call: Awaitable[tuple[bool, list[bytes]]] = bridge.receive.options(concurrency_group="receive").remote()
            return call

        try:
            is_there, messages = await asyncio.wait_for(receive(), CREATE_SECONDS)
            self._bridges[node_id] = bridge
            calls: asyncio.Queue[Awaitable[tuple[bool, list[bytes]]]] = asyncio.Queue()
            for _ in range(_CALLS_AHEAD):
                calls.put_nowait(receive())
            while True:
                if messages:
                    self._tell.put(FromNode(node_id, tuple(messages)))
                if not is_there:
                    return
                async with asyncio.timeout(ANSWER_SECONDS):
                    is_there, messages = await calls.get_nowait()
                calls.put_nowait(receive())
        finally:
            self._bridges.pop(node_id, None)
            ray.kill(bridge)


def _write(connection: Connection, words: "queue.SimpleQueue[DriverWord]") -> None:
    with suppress(OSError):  # the coordinator is gone, and so is this process in a moment
        while True:
            connection.send(words.get())


async def _drive(connection: Connection) -> None:
    words: queue.SimpleQueue[DriverWord] = queue.SimpleQueue()
    driver = Driver(words)
    loop = asyncio.get_running_loop()

    def read() -> None:
        with suppress(EOFError, OSError):
            while True:
                loop.call_soon_threadsafe(driver.send, connection.recv())

    threading.Thread(target=read, name="read", daemon=True).start()
    threading.Thread(target=_write, args=(connection, words), name="write", daemon=True).start()
    await driver.run()


def main() -> None:
    """Entry point of the child."""
    connection = connect_to_parent()
    settings: DriverSettings = connection.recv()
    os.environ.update(settings.environment)
    import ray

    ray.init(
        settings.address,
        _node_ip_address=settings.node_ip,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    # Ray prints what dying raylets wrote, pages of it, whatever log_to_driver says (2.60, listen_error_messages).
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        asyncio.run(_drive(connection))


if __name__ == "__main__":
    main()
