"""What the coordinator tells an engine of reports that workers keep, and what it makes of an engine's own trouble."""

import asyncio
import logging
from pathlib import Path

import pytest

from farm.coordinator.engine import Deaf, Reported
from farm.domain import AttemptState, JobState, WorkerState
from farm.reports import AttemptReport, ImageFailureReport, ImageReport
from tests.builders import PROVENANCE, png
from tests.coordinator.test_coordinator import ended, farm, submit
from tests.waiting import PATIENCE


async def test_reports_are_acknowledged_once_they_are_on_disk(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 1)
        key = (await engine.next_assignment()).key
        engine.say(Reported("w", ImageReport(key, 0, png("picture"), PROVENANCE, 0.1), 7))
        await engine.acknowledgements(7)
        assert (await coordinator.image(job_id, 0)).committed is not None
        engine.say(Reported("w", AttemptReport(key, AttemptState.SUCCEEDED), 8))
        await engine.acknowledgements(8)
        assert (await ended(coordinator, job_id)).state is JobState.SUCCEEDED


async def test_what_is_refused_is_acknowledged_too_so_that_nobody_keeps_it_for_ever(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 1)
        key = (await engine.next_assignment()).key
        engine.say(Reported("w", AttemptReport(key, AttemptState.ABANDONED, "lost"), 1))
        engine.say(Reported("w", ImageReport(key, 0, png("late"), PROVENANCE, 0.1), 2))
        engine.say(Reported("w", AttemptReport(key, AttemptState.SUCCEEDED), 3))
        await engine.acknowledgements(1, 2, 3)
        assert (await coordinator.image(job_id, 0)).committed is None
        assert f"result.refused job={job_id} attempt={key.number} image=0 " in caplog.text
        assert "dispatcher.refused" in caplog.text


async def test_what_is_delivered_again_after_a_broken_connection_counts_once(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 2)
        assignment = await engine.next_assignment()
        key, (first, _) = assignment.key, assignment.images[0]
        for _ in range(5):  # more often than an image may fail
            engine.say(Reported("w", ImageFailureReport(key, first, "BAD", "it is bad"), 1))
            engine.say(Reported("w", ImageReport(key, first, png("picture"), PROVENANCE, 0.1), 2))
        await engine.acknowledgements(1, 2)
        image = await coordinator.image(job_id, first)
        assert image.committed is not None
        assert coordinator.artifact_path(image).read_bytes() == png("picture")


async def test_silence_costs_a_worker_nothing_while_the_engine_is_deaf_but_for_workers_that_it_hears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.scheduler.scheduler.LEASE_SECONDS", 3.0)  # for so long may this machine stand still
    async with farm(tmp_path) as (coordinator, engine):
        engine.join("unheard")
        engine.join("silent")
        states: dict[str, WorkerState] = {}
        async with asyncio.timeout(PATIENCE):
            while states.get("silent") is not WorkerState.OFFLINE:
                engine.say(Deaf(frozenset({"silent"})))
                await asyncio.sleep(0.1)
                states = {worker.worker_id: worker.state for worker in await coordinator.workers()}
        assert states["unheard"] is WorkerState.ACTIVE


@pytest.mark.parametrize("order", ["cancel", "release"])
async def test_what_people_stopped_while_a_worker_was_away_it_is_told_when_it_comes_back(
    tmp_path: Path, order: str
) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 2)
        key = (await engine.next_assignment()).key
        await (coordinator.cancel_job(job_id) if order == "cancel" else coordinator.pause_job(job_id))
    async with farm(tmp_path) as (_, engine):
        engine.join("w", key)
        told = engine.cancelled if order == "cancel" else engine.released
        async with asyncio.timeout(PATIENCE):
            while not told:
                await asyncio.sleep(0.01)
        assert (engine.cancelled, engine.released) == (([key], []) if order == "cancel" else ([], [key]))
