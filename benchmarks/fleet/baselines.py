"""What a studio would write with Ray alone: `ActorPool`, an equal split, Ray Data; one Ray node a Mac.

Each has what it needs to finish: a dead actor's images are given to the others. Starting nodes and actors is not
charged; for Ray Data, whose actors start with the run, the clock starts with the first image.
"""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.update(
    {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # it would be 15, where whatever else the machine does comes first
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback, as on a Mac
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    }
)

import ray
from ray.cluster_utils import Cluster
from ray.util import ActorPool

from benchmarks.fleet.macs import (
    FAULT_AT,
    FLEET,
    VICTIM,
    Fault,
    Sleeper,
    announce_straggling,
    ideal_seconds,
)
from tests.ray.fleet import kill_tree

HEALTH = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
"""Ray notices a dead node within 2 s; its own defaults would cost these baselines 14 s and more."""

HEAD_MEMORY, NODE_MEMORY = 400 * 2**20, 80 * 2**20
RAY_DATA_START_SECONDS = 6.0
"""From the call to the first image, measured; the fault comes at half time after it."""


def _this_mac(slow_from: Path) -> Sleeper:
    name = ray.get_runtime_context().get_node_labels()["mac"]
    return Sleeper(next(mac for mac in FLEET if mac.name == name), slow_from)


class Renderer:
    """One Mac's renderer."""

    def __init__(self, slow_from: Path) -> None:
        self._sleeper = _this_mac(slow_from)

    def render(self, index: int) -> tuple[int, bytes]:
        """An image, with its index."""
        return index, self._sleeper.render()

    def ready(self) -> None:
        """Returns once the actor runs."""


class DataRenderer:
    """The same as Ray Data wants it: a batch of rows in, a batch of rows out."""

    def __init__(self, slow_from: Path) -> None:
        self._sleeper = _this_mac(slow_from)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Renders a batch of one."""
        import numpy as np

        began = time.time()
        images = [self._sleeper.render() for _ in batch["id"]]
        return {"id": batch["id"], "began": np.full(len(images), began), "png": np.array(images, dtype=object)}


@contextlib.contextmanager
def _cluster() -> Iterator[Callable[[], None]]:
    """Ray with a node for each Mac; yields what kills the victim's node and all that runs there."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        os.environ["RAY_TMPDIR"] = folder
        head = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False, "_system_config": HEALTH}
        cluster = Cluster(initialize_head=True, head_node_args=head | {"object_store_memory": HEAD_MEMORY})
        nodes = {
            mac.name: cluster.add_node(
                wait=False,
                num_cpus=1,
                node_ip_address="127.0.0.1",
                object_store_memory=NODE_MEMORY,
                resources={"render": 1},
                labels={"mac": mac.name},
            )
            for mac in FLEET
        }
        try:
            ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
            cluster.wait_for_nodes(timeout=90)
            raylet = nodes[VICTIM.name].all_processes["raylet"][0].process.pid
            yield lambda: kill_tree(raylet)
        finally:
            ray.shutdown()
            cluster.shutdown()


def _arrange(fault: Fault, slow_from: Path, kill: Callable[[], None], happens: float) -> None:
    if fault is Fault.STRAGGLER:
        announce_straggling(slow_from, happens)
    if fault is Fault.KILL:
        threading.Timer(happens - time.time(), kill).start()


def _with_actors(folder: Path, fault: Fault, images: int, dispatch: Callable[[dict[str, Any], int], set[int]]) -> float:
    remote: Any = ray.remote(num_cpus=0, resources={"render": 1}, max_restarts=0)(Renderer)
    with _cluster() as kill:
        actors = {
            mac.name: remote.options(label_selector={"mac": mac.name}).remote(folder / "slow-from") for mac in FLEET
        }
        ray.get([actor.ready.remote() for actor in actors.values()])
        time.sleep(2.0)  # Ray's processes come to rest
        began = time.time()
        _arrange(fault, folder / "slow-from", kill, began + FAULT_AT * ideal_seconds(images))
        assert dispatch(actors, images) == set(range(images))
        return time.time() - began


def actor_pool(folder: Path, fault: Fault, images: int) -> float:
    """Seconds that `ray.util.ActorPool` takes, an image a task."""
    return _with_actors(folder, fault, images, _pooled)


def _pooled(actors: dict[str, Any], images: int) -> set[int]:
    """`map_unordered` ends at the first dead actor, so what failed is submitted again, to the same pool.

    The pool goes on to give the dead actor images, each of which fails at once.
    """
    done: set[int] = set()
    pool = ActorPool(list(actors.values()))
    while missing := sorted(set(range(images)) - done):
        for index in missing:
            pool.submit(lambda actor, value: actor.render.remote(value), index)
        while pool.has_next():
            with contextlib.suppress(ray.exceptions.RayError):
                done.add(pool.get_next_unordered()[0])
    return done


def static_split(folder: Path, fault: Fault, images: int) -> float:
    """Seconds that an equal split takes, all given out at once; a dead Mac's rest is split again."""
    return _with_actors(folder, fault, images, _split)


def _split(actors: dict[str, Any], images: int) -> set[int]:
    done: set[int] = set()
    alive = dict(actors)
    while missing := sorted(set(range(images)) - done):
        names = list(alive)
        owners = {
            alive[name].render.remote(index): name
            for position, index in enumerate(missing)
            for name in (names[position % len(names)],)
        }
        waiting = list(owners)
        while waiting:
            (ready,), waiting = ray.wait(waiting, num_returns=1)
            try:
                done.add(ray.get(ready)[0])
            except ray.exceptions.RayError:
                alive.pop(owners[ready], None)
    return done


def ray_data(folder: Path, fault: Fault, images: int) -> float:
    """Seconds that Ray Data takes from its first image on, one image a block and two blocks in flight an actor."""
    import ray.data

    with _cluster() as kill:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        called = time.time()
        happens = called + RAY_DATA_START_SECONDS + FAULT_AT * ideal_seconds(images)
        _arrange(fault, folder / "slow-from", kill, happens)
        rows = ray.data.range(images, override_num_blocks=images).map_batches(
            DataRenderer,
            fn_constructor_kwargs={"slow_from": folder / "slow-from"},
            batch_size=1,
            num_cpus=0,
            resources={"render": 1},
            compute=ray.data.ActorPoolStrategy(size=len(FLEET), max_tasks_in_flight_per_actor=2),
        )
        began: dict[int, float] = {row["id"]: row["began"] for row in rows.iter_rows()}
        ended = time.time()
        assert len(began) == images, f"{len(began)} images of {images}"
        return ended - min(began.values())
