"""The client for asyncio, against a real farm."""

import asyncio
import contextlib
import inspect
import json
import re
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farm import AsyncClient, AsyncJob, Client, Job
from farm.access.client_access import find_client_access
from farm.client.shared import PATIENCE_SECONDS
from farm.connection import AsyncConnection
from farm.domain import ImageSpec, ImageState, JobState
from farm.errors import (
    ArtifactError,
    ImageNotFoundError,
    InvalidRequestError,
    JobNotFoundError,
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


@pytest.fixture
async def client(farm: RunningFarm) -> AsyncGenerator[AsyncClient, None]:
    async with AsyncClient(farm.address) as connected:
        yield connected


@pytest.mark.parametrize(("blocking", "asynchronous"), [(Client, AsyncClient), (Job, AsyncJob)])
def test_both_clients_have_the_same_calls_with_the_same_arguments(blocking: type, asynchronous: type) -> None:
    def calls(cls: type) -> dict[str, list[tuple[str, object, object]]]:
        return {
            name: [
                (p.name, p.default, p.kind)
                for p in inspect.signature(member).parameters.values()
                if p.name != "on_image"
            ]
            for name, member in inspect.getmembers(cls, inspect.isfunction)
            if not name.startswith("_")
        }

    assert calls(blocking) == calls(asynchronous)


async def test_prompts_go_in_and_finished_images_come_out_one_by_one(client: AsyncClient) -> None:
    job = await client.submit(["a red circle", ImageSpec(prompt="a blue star", steps=2)], steps=3, seed=11)
    images = {image.index: image async for image in job.images()}
    assert {index: (image.spec.prompt, image.spec.steps, image.seed) for index, image in images.items()} == {
        0: ("a red circle", 3, 11),
        1: ("a blue star", 2, 12),
    }
    assert job.state is JobState.SUCCEEDED
    assert (await job.png(1)).startswith(b"\x89PNG")
    assert [len(page) async for page in job.list_images([ImageState.SUCCEEDED])] == [2]
    with pytest.raises(ImageNotFoundError):
        await job.png(2)


async def test_errors_are_those_that_the_farm_raised(client: AsyncClient) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        await client.submit(["fine", ImageSpec(prompt="a", steps=0)], validate_only=True)
    assert list(refused.value.violations) == ["entries[1].steps"]
    with pytest.raises(JobNotFoundError):
        await client.job("nothing")


async def test_a_batch_that_cannot_be_read_to_its_end_is_not_submitted_and_its_failure_is_raised(
    client: AsyncClient,
) -> None:
    def entries() -> Iterator[str]:
        yield from ["a"] * 2500
        raise OSError("the disk is gone")

    before = [job.name async for job in client.jobs()]
    with pytest.raises(OSError, match="the disk is gone"):
        await client.submit(entries())
    assert [job.name async for job in client.jobs()] == before


async def test_a_job_is_steered_and_the_loop_goes_on_meanwhile(tmp_path: Path) -> None:
    with running_farm(tmp_path / "state", seconds_per_image=0.2) as running:
        async with AsyncClient(running.address) as client:
            job = await client.submit(["a"] * 500)
            assert (await job.pause()).state is JobState.PAUSED
            assert not (await job.resume()).state.is_final
            assert (await job.set_priority(7)).message.priority == 7
            assert (await job.explain()).workers[0].worker == "workers/local"
            ended = asyncio.create_task((await client.job(job.name)).wait())
            await job.cancel()
            assert await asyncio.wait_for(ended, PATIENCE) is JobState.CANCELLED
            with pytest.raises(WrongStateError):
                await job.pause()
            assert not (await job.retry()).state.is_final
            await job.cancel()
            await job.wait()
            await job.delete()
            with pytest.raises(JobNotFoundError):
                await job.refresh()


async def test_a_download_fills_a_folder_and_can_be_repeated(client: AsyncClient, tmp_path: Path) -> None:
    job = await client.submit(["a", "b", "c"])
    await job.wait()
    fetched: list[None] = []
    for _ in range(2):
        assert await job.download(tmp_path, lambda: fetched.append(None)) == 3
    assert len(fetched) == 3
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == ["a", "b", "c"]


async def test_workers_and_models_are_listed(client: AsyncClient) -> None:
    assert [worker.name async for worker in client.workers()] == ["workers/local"]
    assert [model.name async for model in client.models()] == ["models/shapes"]


async def test_a_watch_that_is_left_or_cancelled_ends_and_the_client_goes_on(client: AsyncClient) -> None:
    job = await client.submit("a")
    async with contextlib.aclosing(job.watch()) as events:
        assert (await anext(events)).job.name == job.name
    waiting = asyncio.create_task(job.wait())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await job.wait() is JobState.SUCCEEDED


async def test_watches_and_downloads_go_on_over_a_restart_of_the_farm(tmp_path: Path) -> None:
    """Rules out a client that forgets, or repeats, what was settled around the restart."""
    address = f"unix:{tmp_path}/farm.sock"
    async with AsyncClient(address) as client:
        with running_farm(tmp_path / "first", address=address, seconds_per_image=0.01):
            job = await client.submit(["a"] * 100)
            settled = job.images()
            indices = [(await anext(settled)).index for _ in range(10)]
        with running_farm(tmp_path / "first", address=address):
            indices += [image.index async for image in settled]
            images = job.pngs()
            received = [(await anext(images))[0].index]
        with running_farm(tmp_path / "first", address=address):
            received += [image.index async for image, _ in images]
    assert sorted(indices) == received == list(range(100))


@pytest.mark.parametrize("repeatable", [True, False])
async def test_a_submission_that_a_restart_cuts_off_is_sent_again_if_its_entries_can_be_read_again(
    tmp_path: Path, repeatable: bool
) -> None:
    address = f"unix:{tmp_path}/farm.sock"
    with farm_that_restarts(tmp_path / "state", address) as restart:
        async with AsyncClient(address) as client:
            batch = InterruptedBatch(restart)
            if repeatable:
                assert (await client.submit(batch)).message.image_count == 3000
                assert batch.times_read >= 2
            else:
                with pytest.raises(UnreachableError, match=r'only once\. Submit it again .* request_id="once"'):
                    await client.submit(iter(batch), request_id="once")
            assert len([job async for job in client.jobs()]) == repeatable


async def test_a_farm_that_is_not_there_is_told_at_once_with_what_to_do(tmp_path: Path) -> None:
    async with AsyncClient(f"unix:{tmp_path}/nobody.sock") as client:
        began = time.monotonic()
        for call in (client.job("x"), client.submit("a")):
            with pytest.raises(UnreachableError, match=re.escape("nobody.sock. Start one on this machine with `farm")):
                await call
        assert time.monotonic() - began < PATIENCE_SECONDS / 2


async def test_a_call_that_a_restart_of_the_farm_overtook_was_cut_off_and_not_refused(farm: RunningFarm) -> None:
    access = find_client_access(farm.address)
    tokens = iter(["the one of before"] * 2)
    connection = AsyncConnection(replace(access, token=lambda: next(tokens, access.token())), 0.0)
    with pytest.raises(UnreachableError, match="was restarted while it was asked"):
        await connection.call(connection.jobs.ListJobs, job_service_pb2.ListJobsRequest())
    await connection.call(connection.jobs.ListJobs, job_service_pb2.ListJobsRequest())
    await connection.close()


async def test_a_damaged_file_of_the_farm_costs_that_image_and_no_other(tmp_path: Path) -> None:
    with running_farm(tmp_path / "state") as running:
        async with AsyncClient(running.address) as client:
            job = await client.submit(["a", "b", "c"])
            await job.wait()
            sorted(running.state.rglob("*.png"))[1].unlink()
            with pytest.raises(ArtifactError, match="1 by index"):
                await job.download(tmp_path / "out")
    assert len(list((tmp_path / "out").glob("0*.png"))) == 2
