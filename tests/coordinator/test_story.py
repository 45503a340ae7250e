"""The story of attempts that were lost: told to watchers, kept for whoever asks later, one line each in the log."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from farm.coordinator.coordinator import Coordinator
from farm.coordinator.engine import Left, Reported
from farm.coordinator.views import AttemptView, WatchEvent
from farm.domain import AttemptState, JobState
from farm.reports import AttemptReport, ImageFailureReport, ImageReport
from farm.scheduler.state import MAX_LOSSES
from tests.builders import PROVENANCE, png
from tests.coordinator.scripted_engine import ScriptedEngine
from tests.coordinator.test_coordinator import ended, farm, submit
from tests.expositions import Exposition
from tests.waiting import PATIENCE


async def next_lost(events: AsyncIterator[WatchEvent]) -> AttemptView:
    """The next attempt that a watcher is told to have been lost."""
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            if isinstance(view := event.event, AttemptView) and view.state is not AttemptState.RUNNING:
                return view
    raise AssertionError("the watch ended")


async def finish_the_rest(coordinator: Coordinator, engine: ScriptedEngine, job_id: str) -> None:
    working = asyncio.create_task(engine.finish_everything("steady"))
    engine.join("steady")
    assert (await ended(coordinator, job_id)).state is JobState.SUCCEEDED
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working


async def test_an_attempt_whose_worker_left_is_told_to_watchers_explained_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 2)
        events = coordinator.watch(job_id, 0)
        await anext(events)
        first = await engine.next_assignment()
        engine.say(Left("w", "its daemon was killed"))
        lost = await next_lost(events)
        assert (lost.worker_id, lost.number, lost.state) == ("w", first.key.number, AttemptState.ABANDONED)
        assert lost.reason == "its daemon was killed"
        assert lost.end_time is not None
        explanation = await coordinator.explain(job_id)
        assert explanation.lost_attempts[0] == lost
        await finish_the_rest(coordinator, engine, job_id)
        assert (await coordinator.explain(job_id)).lost_attempts[0] == lost, "it is forgotten once the job has ended"
    (line, *_) = [r.getMessage() for r in caplog.records if r.getMessage().startswith("attempt.abandoned")]
    assert "worker=w" in line
    assert f"images={lost.first_index}-" in line
    assert "its daemon was killed" in line
    async with farm(tmp_path) as (coordinator, _):
        assert (await coordinator.explain(job_id)).lost_attempts[0] == lost, "it is forgotten after a restart"


async def test_an_attempt_that_was_lost_over_a_restart_is_told_with_its_worker_and_images(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 1)
        running = await engine.next_assignment()
    async with farm(tmp_path) as (coordinator, engine):
        events = coordinator.watch(job_id, None)
        await anext(events)
        engine.join()
        lost = await next_lost(events)
        assert (lost.worker_id, lost.number, lost.image_count) == ("w", running.key.number, 1)
        assert lost.reason == "its worker came back without it"


async def test_a_result_that_comes_too_late_is_refused_and_the_story_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join("cut-off")
        job_id = await submit(coordinator, 1)
        events = coordinator.watch(job_id, None)
        await anext(events)
        late = await engine.next_assignment()
        engine.say(Left("cut-off", "not heard of for 6 s"))
        assert (await next_lost(events)).worker_id == "cut-off"
        engine.finish_image(late.key, 0, worker_id="cut-off")
        refused = await next_lost(events)
        assert refused.number == late.key.number
        assert "came too late and was refused" in refused.reason
        (loss,) = (await coordinator.explain(job_id)).lost_attempts
        assert loss.reason == "not heard of for 6 s. 1 of its images came too late and were refused."
        assert any(r.getMessage().startswith("result.refused") for r in caplog.records)
        await finish_the_rest(coordinator, engine, job_id)


async def test_a_result_that_comes_after_the_end_of_its_job_is_refused_logged_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join("cut-off")
        job_id = await submit(coordinator, 1)
        late = await engine.next_assignment()
        engine.say(Left("cut-off", "not heard of for 6 s"))
        await finish_the_rest(coordinator, engine, job_id)
        engine.say(Reported("cut-off", ImageReport(late.key, 0, png("late"), PROVENANCE, 0.1), 7))
        await engine.acknowledgements(7)
        assert f"result.refused job={job_id} attempt={late.key.number} image=0 worker=cut-off " in caplog.text
        told = Exposition((await coordinator.metrics())[0].decode())
        assert told.value("farm_results_refused_total") == 1


async def test_of_very_many_lost_attempts_the_newest_are_kept(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        job_id = await submit(coordinator, 1)
        for number in range(MAX_LOSSES + 5):
            engine.join()
            await engine.next_assignment()
            engine.say(Left("w", f"away for the time {number}"))
        await coordinator.resume_worker("w")  # answers after what was said before it
        losses = (await coordinator.explain(job_id)).lost_attempts
        assert len(losses) == MAX_LOSSES
        assert losses[-1].reason == f"away for the time {MAX_LOSSES + 4}"


async def test_a_worker_that_was_set_aside_is_named_wherever_one_looks(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join("bad")
        engine.join("good")
        job_id = await submit(coordinator, 100)
        working = asyncio.create_task(render_as_two(engine))
        async with asyncio.timeout(PATIENCE):
            async for event in coordinator.watch(job_id, None):
                reason = getattr(event.event, "reason", "")
                if reason.startswith("bad is set aside"):
                    break
        (why,) = [why for why in (await coordinator.explain(job_id)).workers if why.worker_id == "bad"]
        assert why.reason == "SET_ASIDE"
        assert "set aside for job" in (await coordinator.worker("bad")).reason
        working.cancel()


async def render_as_two(engine: ScriptedEngine) -> None:
    """A good worker that takes a moment for each image, and one that returns garbage."""
    while True:
        worker_id, assignment = await engine.assigned.get()
        if worker_id == "good":
            engine.finish_image(assignment.key, assignment.images[0][0], worker_id=worker_id)
            await asyncio.sleep(0.01)
            engine.report(AttemptReport(assignment.key, AttemptState.ABANDONED, "one at a time"), worker_id)
        else:
            for index, _ in assignment.images:
                engine.report(ImageFailureReport(assignment.key, index, "GARBAGE", "it is noise"), worker_id)
            engine.report(AttemptReport(assignment.key, AttemptState.SUCCEEDED), worker_id)
