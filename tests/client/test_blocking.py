"""The client that blocks, against a real farm."""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farm import Client
from farm.access.client_access import find_client_access
from farm.client.shared import PATIENCE_SECONDS
from farm.connection import Connection
from farm.domain import ChipClass, ImageSpec, ImageState, JobState, Pin
from farm.errors import (
    AddressError,
    ArtifactError,
    ImageNotFoundError,
    InvalidRequestError,
    JobNotFoundError,
    ModelNotFoundError,
    OutputFolderError,
    UnreachableError,
    WrongStateError,
)
from farm.v1 import job_service_pb2
from tests.client.batches import InterruptedBatch, farm_that_restarts
from tests.running_farm import RunningFarm, running_farm
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarm]:
    with running_farm(tmp_path_factory.mktemp("farm") / "state") as running:
        yield running


@pytest.fixture(scope="module")
def client(farm: RunningFarm) -> Iterator[Client]:
    with Client(farm.address) as connected:
        yield connected


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Client]:
    """A farm that takes its time over each image."""
    with running_farm(tmp_path / "state", seconds_per_image=0.2) as running, Client(running.address) as connected:
        yield connected


def test_prompts_go_in_and_finished_images_come_out_one_by_one(client: Client) -> None:
    job = client.submit(["a red circle", "a blue star"], steps=3, seed=11)
    images = {image.index: image for image in job.images()}
    assert {index: (image.spec.prompt, image.spec.steps, image.seed) for index, image in images.items()} == {
        0: ("a red circle", 3, 11),
        1: ("a blue star", 3, 12),
    }
    assert job.state is JobState.SUCCEEDED
    assert job.png(1).startswith(b"\x89PNG")


def test_one_prompt_is_a_batch_of_one_and_entries_may_say_more_than_a_prompt(client: Client) -> None:
    assert client.submit("a red circle").message.image_count == 1
    job = client.submit((ImageSpec(prompt="a", steps=2), "b"), steps=5)
    job.wait()
    assert [image.spec.steps for page in job.list_images() for image in page] == [2, 5]


def test_a_pin_and_labels_travel_with_the_job(client: Client) -> None:
    job = client.submit("a", labels={"project": "x"}, pin=Pin(chip_class=ChipClass.CPU), priority=3)
    spec = job.refresh().message.spec
    assert (dict(spec.labels), spec.pin.chip_class, spec.priority) == ({"project": "x"}, 3, 3)


def test_wrong_fields_come_back_as_the_error_that_the_farm_raised(client: Client) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        client.submit(["fine", ImageSpec(prompt="a", steps=0)])
    assert list(refused.value.violations) == ["entries[1].steps"]
    with pytest.raises(ModelNotFoundError, match="shapes"):
        client.submit("a", model="nothing")
    with pytest.raises(JobNotFoundError):
        client.job("nothing")


@pytest.mark.parametrize(
    ("entries", "arguments", "says"),
    [
        ([{"prompt": "a"}], {}, r"entries\[0\] is {'prompt': 'a'}; it must be a prompt"),
        (["a", 1], {}, r"entries\[1\] is 1; it must be a prompt"),
        ({"prompt": "a"}, {}, "entries is .* give a prompt"),
        (5, {}, "entries is 5; give a prompt"),
        ([], {}, "entries is empty"),
        (["a"], {"steps": "a"}, r"spec\.defaults\.steps is 'a'"),
        (["a"], {"priority": "high"}, r"spec\.priority is 'high'"),
        (["a"], {"model": 3}, r"spec\.model is 3"),
    ],
)
def test_a_submission_of_the_wrong_type_is_refused_with_the_name_of_the_argument(
    client: Client, entries: Any, arguments: dict[str, Any], says: str
) -> None:
    before = len(list(client.jobs()))
    with pytest.raises(InvalidRequestError, match=says):
        client.submit(entries, **arguments)
    assert len(list(client.jobs())) == before


def test_an_argument_that_is_misspelt_is_refused_with_the_one_that_was_meant(client: Client) -> None:
    with pytest.raises(TypeError, match='unexpected argument "stepz": did you mean "steps"'):
        client.submit("a", stepz=3)
    with pytest.raises(TypeError, match="fields of an image are prompt, "):
        client.submit("a", zzz=3)


@pytest.mark.parametrize("name", ["", "jobs/", "jobs/x/images/1", "\udcff", 3])
def test_what_can_be_no_name_of_a_job_is_refused_as_such(client: Client, name: Any) -> None:
    with pytest.raises(InvalidRequestError, match='it must have the form "jobs/'):
        client.job(name)


def test_what_can_be_no_address_is_refused_before_anything_is_called() -> None:
    with pytest.raises(AddressError, match=r"http://localhost:7433.* is not an address of a farm"):
        Client("http://localhost:7433")


def test_a_batch_that_cannot_be_read_to_its_end_is_not_submitted_and_its_failure_is_raised(client: Client) -> None:
    def entries() -> Iterator[str]:
        yield from ["a"] * 2500
        raise OSError("the disk is gone")

    before = len(list(client.jobs()))
    with pytest.raises(OSError, match="the disk is gone"):
        client.submit(entries())
    assert len(list(client.jobs())) == before


def test_jobs_can_be_listed_by_state(client: Client) -> None:
    job = client.submit("a")
    job.wait()
    assert job.name in [listed.name for listed in client.jobs([JobState.SUCCEEDED])]
    assert job.name not in [listed.name for listed in client.jobs([JobState.RUNNING, JobState.PENDING])]


def test_an_image_that_is_not_there_has_no_png(client: Client) -> None:
    job = client.submit("a")
    job.wait()
    with pytest.raises(ImageNotFoundError):
        job.png(1)


def test_workers_and_models_are_listed(client: Client) -> None:
    assert [worker.name for worker in client.workers()] == ["workers/local"]
    assert [model.name for model in client.models()] == ["models/shapes"]


def test_a_job_can_be_paused_resumed_and_cancelled(slow: Client) -> None:
    job = slow.submit(["a"] * 500)
    assert job.pause().state is JobState.PAUSED
    assert job.resume().state in (JobState.RUNNING, JobState.PENDING)
    assert job.set_priority(7).message.priority == 7
    assert job.explain().workers[0].worker == "workers/local"
    job.cancel()
    assert job.wait() is JobState.CANCELLED
    with pytest.raises(WrongStateError):
        job.pause()
    job.delete()
    with pytest.raises(JobNotFoundError):
        job.refresh()


def test_a_failed_image_is_told_with_its_reason_and_can_be_rendered_again(tmp_path: Path) -> None:
    with running_farm(tmp_path / "state", failures={1: 1000}) as running, Client(running.address) as client:
        job = client.submit(["a", "b", "c"])
        images = {image.index: image for image in job.images()}
        assert [bool(images[index].sha256) for index in range(3)] == [True, False, True]
        assert images[1].error.message
        assert (job.state, job.message.failed_count) == (JobState.SUCCEEDED, 1)
        assert job.download(tmp_path / "out") == 2
        lines = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
        assert [json.loads(line)["file"] for line in lines] == ["000000.png", None, "000002.png"]
        assert not job.retry().state.is_final
        job.wait()
        assert [len(page) for page in job.list_images([ImageState.FAILED])] == [1]


def test_a_damaged_file_of_the_farm_costs_that_image_and_no_other(tmp_path: Path) -> None:
    with running_farm(tmp_path / "state") as running, Client(running.address) as client:
        job = client.submit(["a", "b", "c", "d"])
        job.wait()
        _, first, second, _ = sorted(running.state.rglob("*.png"))
        first.write_bytes(b"changed")
        second.unlink()
        with pytest.raises(ArtifactError, match=r"2 by index: \d, \d\).*farm retry") as damage:
            job.download(tmp_path / "out")
        left_out = [int(index) for index in damage.value.metadata["indices"].split(", ")]
        lines = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
        assert [json.loads(line)["file"] is None for line in lines] == [index in left_out for index in range(4)]
        assert len(list((tmp_path / "out").glob("0*.png"))) == 2
        assert (tmp_path / "out" / "contact-sheet.png").exists()


def test_a_download_of_a_job_that_was_cancelled_lists_every_image_with_its_state(slow: Client, tmp_path: Path) -> None:
    job = slow.submit(["a"] * 5)
    job.cancel()
    job.wait()
    fetched = job.download(tmp_path / "out")
    lines = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    states = [json.loads(line)["state"] for line in lines]
    assert len(states) == 5
    assert "IMAGE_STATE_CANCELLED" in states
    assert states.count("IMAGE_STATE_SUCCEEDED") == fetched


def test_images_of_two_jobs_do_not_mix_in_one_folder(client: Client, tmp_path: Path) -> None:
    first, second = client.submit("a"), client.submit("b")
    for job in (first, second):
        job.wait()
    first.download(tmp_path)
    with pytest.raises(OutputFolderError, match=f"holds the images of {first.name}"):
        second.download(tmp_path)


def test_a_download_can_be_repeated_while_the_job_runs_and_fetches_each_image_once(
    slow: Client, tmp_path: Path
) -> None:
    job = slow.submit(["a"] * 10)
    fetched: list[None] = []
    images = job.images()
    next(images)
    job.pause()  # so that there is time to look at it in the middle
    assert 1 <= job.download(tmp_path, lambda: fetched.append(None)) < 10
    job.resume()
    job.wait()
    assert job.download(tmp_path, lambda: fetched.append(None)) == 10
    assert len(fetched) == 10
    assert [path.name for path in sorted(tmp_path.glob("0*.png"))] == [f"{index:06d}.png" for index in range(10)]


def test_a_watch_goes_on_over_a_restart_of_the_farm_and_tells_of_every_image_once(tmp_path: Path) -> None:
    """Rules out a client that forgets, or repeats, what was settled around the restart."""
    address = f"unix:{tmp_path}/farm.sock"
    indices: list[int] = []
    with Client(address) as client:
        with running_farm(tmp_path / "state", address=address, seconds_per_image=0.02):
            job = client.submit(["a"] * 300)
            reader = threading.Thread(target=lambda: indices.extend(image.index for image in job.images()))
            reader.start()
            while job.refresh().message.succeeded_count < 10:
                time.sleep(0.02)
        assert reader.is_alive()
        with running_farm(tmp_path / "state", address=address, seconds_per_image=0.005):
            reader.join(PATIENCE)
    assert sorted(indices) == list(range(300))


def test_a_download_goes_on_over_a_restart_of_the_farm(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/farm.sock"
    with Client(address) as client:
        with running_farm(tmp_path / "state", address=address):
            job = client.submit(["a"] * 600)
            job.wait()
            images = job.pngs()
            received = [next(images)[0].index]
        with running_farm(tmp_path / "state", address=address):
            received += [image.index for image, _ in images]
    assert received == list(range(600))


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_submission_that_a_restart_cuts_off_is_sent_again_if_its_entries_can_be_read_again(
    tmp_path: Path, repeatable: bool
) -> None:
    address = f"unix:{tmp_path}/farm.sock"
    with farm_that_restarts(tmp_path / "state", address) as restart, Client(address) as client:
        batch = InterruptedBatch(restart)
        if repeatable:
            assert client.submit(batch).message.image_count == 3000
            assert batch.times_read >= 2
        else:
            with pytest.raises(UnreachableError, match=r'only once\. Submit it again .* request_id="once"'):
                client.submit(iter(batch), request_id="once")
        # The call fails while its entries are still being read on another thread.
        assert batch.interrupted.wait(PATIENCE)
        assert len(list(client.jobs())) == repeatable


def test_a_submission_that_is_cut_off_gives_up_when_the_farm_stays_away(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/farm.sock"
    with ExitStack() as running, Client(address, patience_seconds=0.7) as client:
        running.enter_context(running_farm(tmp_path / "state", address=address))
        batch = InterruptedBatch(running.close)
        began = time.monotonic()
        with pytest.raises(UnreachableError):
            client.submit(batch)
        assert 0.7 <= time.monotonic() - began < PATIENCE_SECONDS / 2
        assert batch.interrupted.wait(PATIENCE)


def test_a_submission_that_is_only_to_be_checked_gives_the_job_that_would_be(client: Client) -> None:
    before = len(list(client.jobs()))
    job = client.submit(["a", "b"], validate_only=True, seed=7, display_name="x")
    assert (job.name, job.message.image_count, job.message.display_name) == ("", 2, "x")
    with pytest.raises(InvalidRequestError):
        client.submit(["a", ImageSpec(prompt="b", steps=-1)], validate_only=True)
    assert len(list(client.jobs())) == before


def test_a_farm_that_is_not_there_is_told_at_once_with_what_to_do(tmp_path: Path) -> None:
    with Client(f"unix:{tmp_path}/nobody.sock") as client:
        began = time.monotonic()
        for call in (lambda: list(client.jobs()), lambda: client.submit("a")):
            with pytest.raises(UnreachableError, match=re.escape("nobody.sock. Start one on this machine with `farm")):
                call()
        assert time.monotonic() - began < PATIENCE_SECONDS / 2


def test_a_call_that_a_restart_of_the_farm_overtook_was_cut_off_and_not_refused(farm: RunningFarm) -> None:
    """The farm's own user has another token after each restart."""
    access = find_client_access(farm.address)
    tokens = iter(["the one of before"] * 2)
    with closing(Connection(replace(access, token=lambda: next(tokens, access.token())), 0.0)) as connection:
        with pytest.raises(UnreachableError, match="was restarted while it was asked"):
            connection.call(connection.jobs.ListJobs, job_service_pb2.ListJobsRequest())
        connection.call(connection.jobs.ListJobs, job_service_pb2.ListJobsRequest())


def test_a_watch_gives_up_when_the_farm_stays_away(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/farm.sock"
    with Client(address, patience_seconds=0.5) as client:
        with running_farm(tmp_path / "state", address=address, seconds_per_image=1.0):
            job = client.submit(["a"] * 100)
            events = job.watch()
            next(events)
        with pytest.raises(UnreachableError):
            list(events)


def test_importing_the_package_loads_neither_grpc_nor_numpy() -> None:
    script = "import sys, farm; print(sorted({'grpc', 'numpy', 'google'} & set(sys.modules))); from farm import Client"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"
