"""What is learned of speeds outlives the coordinator."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from farm.coordinator.coordinator import Coordinator
from farm.coordinator.journal_reader import JournalReader
from farm.coordinator.learned import decode, encode
from farm.coordinator.views import JobView
from farm.domain import ImageSpec, JobSpec, JobState, evaluation_count
from farm.reports import ImageReport
from farm.scheduler import events as ev
from farm.scheduler.forecast import CHECKPOINTS, WINDOW
from farm.scheduler.state import FarmState
from farm.scheduler.transitions import apply
from tests.builders import PROVENANCE, attempt_started, image_committed, job_opened, worker_facts
from tests.coordinator.scripted_engine import PNG, ScriptedEngine
from tests.coordinator.test_coordinator import ended, farm, submit
from tests.waiting import PATIENCE


async def foreseen(coordinator: Coordinator, count: int) -> JobView:
    """A job as it would be if it were submitted now."""
    spec = JobSpec("shapes", defaults=ImageSpec(seed=1))
    submission = await coordinator.open_submission(spec, "alice", "", None)
    await submission.add([ImageSpec(prompt="x")] * count)
    try:
        return await submission.preview()
    finally:
        await submission.abandon()


async def joined(coordinator: Coordinator, engine: ScriptedEngine) -> None:
    engine.join()
    async with asyncio.timeout(PATIENCE):
        while not await coordinator.workers():
            await asyncio.sleep(0.01)


async def render(coordinator: Coordinator, engine: ScriptedEngine) -> None:
    """Has a job rendered to its end, at 0.01 s an image."""
    job_id = await submit(coordinator, 20)
    working = asyncio.create_task(engine.finish_everything())
    assert (await ended(coordinator, job_id)).state is JobState.SUCCEEDED
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working


async def test_after_a_restart_the_end_of_a_job_is_foretold_as_before(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        await joined(coordinator, engine)
        assert (await foreseen(coordinator, 1000)).eta is None, "nothing was learned yet"
        await render(coordinator, engine)
        before = await foreseen(coordinator, 1000)
    async with farm(tmp_path) as (coordinator, engine):
        await joined(coordinator, engine)
        after = await foreseen(coordinator, 1000)
    assert before.eta is not None
    assert after.eta is not None
    duration = before.eta.likely - before.create_time
    assert after.eta.likely - after.create_time == pytest.approx(duration, rel=0.05)


async def test_what_was_learned_is_kept_now_and_then_and_not_only_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm.coordinator.learned.PERIOD_SECONDS", 0.05)
    async with farm(tmp_path) as (coordinator, engine):
        await joined(coordinator, engine)
        await render(coordinator, engine)
        reader = JournalReader(tmp_path / "journal.sqlite3")
        async with asyncio.timeout(PATIENCE):
            while not decode(reader.kept("speeds")).rates.variants:
                await asyncio.sleep(0.02)


async def test_the_steps_of_entries_are_kept_with_the_job_and_those_of_each_image_with_it(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        await joined(coordinator, engine)
        submission = await coordinator.open_submission(JobSpec("shapes", defaults=ImageSpec(seed=1)), "alice", "", None)
        await submission.add([ImageSpec(prompt="x", steps=steps) for steps in (10, 50, 40)])
        await submission.accept()
        await submission.abandon()
        assignment = await engine.next_assignment()
        index, spec = assignment.images[0]
        took = evaluation_count(spec)
        engine.report(ImageReport(assignment.key, index, PNG, PROVENANCE, 0.01, evaluations=took))
        reader = JournalReader(tmp_path / "journal.sqlite3")
        async with asyncio.timeout(PATIENCE):
            while not (committed := [event for event in reader.replay() if isinstance(event, ev.ImageCommitted)]):
                await asyncio.sleep(0.02)
        opened = next(event for event in reader.replay() if isinstance(event, ev.JobOpened))
    assert opened.evaluations == 33
    assert [image.evaluations for image in committed] == [took]


def test_what_cannot_be_read_is_learned_again() -> None:
    assert decode(b"of another version").rates == FarmState().rates


def test_what_is_read_is_what_was_kept() -> None:
    state = FarmState()
    apply(state, job_opened())
    apply(state, ev.WorkerJoined("w", 0.0, worker_facts()))
    apply(state, attempt_started())
    apply(state, image_committed(seconds=3.0))
    state.forecasts.learn(0, 0.0, 10.0, 13.0)
    again = decode(encode(state))
    assert again.rates == state.rates
    assert again.rates.variants
    assert again.forecasts == state.forecasts
    assert [window.maxlen for window in again.forecasts.ratios] == [WINDOW] * len(CHECKPOINTS)
