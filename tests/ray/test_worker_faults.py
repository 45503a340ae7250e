"""What can go wrong within a worker, and what people do to it: every image counts once, and the story can be read."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.client import Client
from farm.domain import ImageState, Pin
from farm.v1 import worker_pb2
from tests.disks import filled, mounted
from tests.ray.batch import Batch
from tests.ray.chaos import chaos
from tests.ray.fleet import PATIENCE, Fleet, kill, running_fleet
from tests.ray.odd_worker import Oddity
from tests.waiting import eventually

STEADY = "number {}, sleep 0.05 at 1"
NULL, PIPELINE = Pin(runtime="null"), Pin(runtime="portable")

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def shared_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two that need no device, the second on a disk of its own, and one with a pipeline process."""
    folder = tmp_path_factory.mktemp("fleet")
    workers = {"one": None, "two": None, "scripted": Oddity.SCRIPTED}
    with mounted(folder / "two", 8), running_fleet(folder, workers) as fleet:
        yield fleet


@pytest.fixture
def fleet(shared_fleet: Fleet) -> Fleet:
    shared_fleet.revive()
    shared_fleet.wait_until_whole()
    return shared_fleet


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Client]:
    with Client(fleet.address) as connected:
        yield connected


def on_pipeline(fleet: Fleet, folder: Path, prompt: str = STEADY, images: int = 60) -> Batch:
    return Batch(fleet, folder, images, prompt.format, PIPELINE)


def pipeline_process(fleet: Fleet) -> int:
    return fleet.part(fleet.workers["scripted"], r"farm\.worker\.pipeline_process")


def test_a_pipeline_process_that_is_killed_is_replaced(fleet: Fleet, tmp_path: Path) -> None:
    batch = on_pipeline(fleet, tmp_path)
    kill(pipeline_process(fleet))
    batch.finish()
    assert any("the pipeline process was ended by signal 9" in line for line in batch.lost_attempts()), batch.log()


def test_a_pipeline_process_that_hangs_is_replaced_when_its_stage_is_overdue(fleet: Fleet, tmp_path: Path) -> None:
    batch = on_pipeline(fleet, tmp_path)
    os.kill(pipeline_process(fleet), signal.SIGSTOP)
    batch.finish()
    assert any("was silent for too long" in line for line in batch.lost_attempts()), batch.log()


def test_a_prompt_over_which_the_pipeline_process_dies_each_time_fails_and_the_others_do_not(
    fleet: Fleet, client: Client, tmp_path: Path
) -> None:
    batch = Batch(fleet, tmp_path, 12, lambda i: "crash at 2" if i == 5 else STEADY.format(i), PIPELINE, begun=0)
    batch.finish(failed=1)
    (page,) = client.job(batch.name).list_images([ImageState.FAILED])
    assert [(image.index, image.error.details[0].TypeName()) for image in page] == [(5, "google.rpc.ErrorInfo")]
    assert "The renderer died" in page[0].error.message
    assert len(batch.lost_attempts()) >= 4, batch.log()


def test_a_worker_that_is_drained_finishes_what_it_has_and_takes_nothing_new(
    fleet: Fleet, client: Client, tmp_path: Path
) -> None:
    batch = Batch(fleet, tmp_path, pin=NULL)
    client.drain("one")
    try:
        assert eventually(lambda: not worker(client, "one").current_attempt, PATIENCE)
        batch.finish()
    finally:
        assert client.resume_worker("one").state == worker_pb2.WORKER_STATE_ACTIVE
    assert batch.lost_but_for() == []


def test_a_worker_that_is_drained_at_once_gives_back_what_it_has(fleet: Fleet, client: Client, tmp_path: Path) -> None:
    batch = Batch(fleet, tmp_path, pin=NULL)
    client.drain("one", now=True)
    try:
        assert eventually(lambda: not worker(client, "one").current_attempt, PATIENCE)
        batch.finish()
    finally:
        client.resume_worker("one")
    lost = client.job(batch.name).explain().lost_attempts
    told = ("workers/one", "its worker was drained at once")
    assert told in {(attempt.worker, attempt.reason) for attempt in lost}


def worker(client: Client, name: str) -> worker_pb2.Worker:
    return next(one for one in client.workers() if one.name == f"workers/{name}")


def test_a_disk_that_is_full_costs_a_worker_nothing_as_long_as_its_images_are_taken(
    fleet: Fleet, tmp_path: Path
) -> None:
    if not os.path.ismount(fleet.folder("two")):
        pytest.skip("no file system may be mounted here")
    with filled(fleet.folder("two")):
        batch = Batch(fleet, tmp_path, pin=NULL)
        batch.finish()
    assert "outbox.not_written reason='No space left on device'" in fleet.log("two")
    assert batch.lost_but_for() == []


def test_what_a_worker_finished_alone_is_delivered_even_if_coordinator_and_worker_are_both_killed(
    fleet: Fleet, tmp_path: Path
) -> None:
    batch = Batch(fleet, tmp_path, pin=NULL)
    fleet.coordinator.kill()
    fleet.coordinator.wait()
    assert eventually(lambda: len(fleet.kept("one")) >= 3), "the worker does not go on alone"
    fleet.workers["one"].kill()
    fleet.workers["one"].wait()
    alone = set(fleet.kept("one"))
    before = batch.committed()
    fleet.start_coordinator()
    fleet.start_worker("one")
    batch.finish()
    assert before.items() <= batch.committed().items(), "a committed image was rendered again"
    assert eventually(lambda: not alone & set(fleet.kept("one"))), "the outbox is not empty"


def test_a_worker_that_delivers_garbage_is_set_aside_and_the_others_render_the_batch(
    fleet: Fleet, client: Client, tmp_path: Path
) -> None:
    fleet.add_worker("garbage", Oddity.GARBAGE)
    fleet.wait_until_whole()
    # A worker that would have to load the model first sits out so short a batch.
    assert client.prewarm("shapes", ["garbage"]) == ["workers/garbage"]
    assert eventually(lambda: list(worker(client, "garbage").resident_models) == ["models/shapes"])
    batch = Batch(fleet, tmp_path, pin=NULL, begun=0)
    batch.finish()
    assert "worker.set_aside worker=garbage" in batch.log()
    assert all(image.worker != "workers/garbage" for page in client.job(batch.name).list_images() for image in page)


def test_a_batch_under_random_faults_has_every_image_once_and_whole(fleet: Fleet, tmp_path: Path) -> None:
    quick = ("worker_killed", "bridge_killed", "pipeline_killed", "driver_killed", "worker_drained_at_once")
    batch = Batch(fleet, tmp_path, 400, STEADY.format, begun=0)
    with chaos(fleet, seed=52, every_seconds=0.5, faults=quick, limit=4) as harm:
        batch.wait_for_end()
    assert harm.done.total() == 4, harm
    batch.finish()
