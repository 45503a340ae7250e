"""A whole farm in a thread of the test's process: real coordinator, journal and gRPC server; a renderer of squares."""

import asyncio
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from farm.access.access import Access
from farm.access.client_access import find_client_access
from farm.access.enrolment import RayAccess
from farm.api.reach import Reach
from farm.api.server import Server
from farm.catalogue import Catalogue
from farm.channel import open_channel
from farm.coordinator.coordinator import Coordinator
from farm.coordinator.engine import Engine, LocalEngine
from farm.web.server import WebServer
from farm.webhooks.delivery import TRIES, delivering
from farm.webhooks.signing import Secret
from farm.worker.null_renderer import NullRenderer
from tests.waiting import PATIENCE


@dataclass(frozen=True, slots=True)
class RunningFarm:
    """A farm that runs.

    Attributes:
        address: Where it listens.
        page: Where its page is; empty if it has none.
        state: Its state folder.
        coordinator: For what the API cannot do.
        access: Its authority and tokens.
        stop: Stops it.
    """

    address: str
    page: str
    state: Path
    coordinator: Coordinator
    access: Access
    stop: Callable[[], object]


@contextmanager
def running_farm(
    state: Path,
    *,
    address: str = "127.0.0.1:0",
    engine: Engine | None = None,
    ray: RayAccess | None = None,
    seconds_per_image: float = 0.0,
    failures: Mapping[int, int] | None = None,
    page: str = "",
    private_webhooks: bool = False,
    webhook_tries: Sequence[float] = TRIES,
    models: Path | None = None,
) -> Iterator[RunningFarm]:
    """Runs a farm until the block ends.

    Args:
        state: The state folder; the cache of digests is beside it.
        address: Where to listen; any free port if nothing is said.
        engine: Reaches the workers; without it this machine is the only one, with a renderer of squares.
        ray: How workers would reach Ray.
        seconds_per_image: How long that renderer takes.
        failures: How often each image, by index, fails.
        page: Where to serve the page; nowhere if nothing is said.
        private_webhooks: Whether webhooks may be on this machine.
        webhook_tries: When they are tried again, in seconds after the end of a job.
        models: Folder of the models; the bundled ones if nothing is said.
    """
    catalogue = Catalogue(None if models is None else [models], cache=state.parent / "digests.json")
    renderer = NullRenderer(
        catalogue.models(), seconds_per_image=seconds_per_image, report_steps=True, failures=failures
    )
    ready: queue.Queue[RunningFarm | None] = queue.Queue()

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with Coordinator.open(state, catalogue, engine or LocalEngine(renderer)) as coordinator:
            access = Access.open(state)
            server = await Server.start(Reach(address), coordinator, catalogue, access, ray)
            web = await WebServer.start(Reach(page), coordinator, catalogue, access) if page else None
            url = web.urls[0] if web else ""
            end = lambda: loop.call_soon_threadsafe(stop.set)  # noqa: E731 - what stops it is known here alone
            secret = Secret.open(access.folder)
            async with delivering(coordinator, secret, allow_private=private_webhooks, tries=webhook_tries):
                ready.put(RunningFarm(server.address, url, state, coordinator, access, end))
                await stop.wait()
            if web is not None:
                await web.stop()
            await server.stop(grace_seconds=0.1)

    with ThreadPoolExecutor(1, "farm") as thread:
        done = thread.submit(asyncio.run, run())
        done.add_done_callback(lambda _: ready.put(None))
        farm = ready.get(timeout=PATIENCE)
        if farm is not None:
            try:
                yield farm
            finally:
                farm.stop()
                done.result(PATIENCE)
        done.result()


def local_channel(farm: RunningFarm) -> grpc.Channel:
    """A channel to a farm, with the token that its user has on its machine."""
    return open_channel(find_client_access(farm.address))
