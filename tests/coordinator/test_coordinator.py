"""The coordinator from its API down to SQLite and the disk; only the workers are scripted."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from farm.coordinator.clock import Clock
from farm.coordinator.coordinator import Coordinator
from farm.coordinator.engine import Joined, Reported
from farm.coordinator.recovery import recover
from farm.coordinator.storage import Storage
from farm.coordinator.views import AttemptView, ImageView, JobView
from farm.domain import AttemptState, ImageSpec, ImageState, JobSpec, JobState, Model, Pin, WorkerState
from farm.errors import (
    DiskFullError,
    ImageNotFoundError,
    InfeasibleJobError,
    InvalidRequestError,
    JobNotFoundError,
    JournalError,
    RequestIdReusedError,
    SubmissionUnderWayError,
    WorkerNotFoundError,
    WrongStateError,
)
from farm.reports import AttemptReport, ImageFailureReport, ImageReport
from tests.builders import MODEL, PROVENANCE, png, worker_facts
from tests.coordinator.scripted_engine import ScriptedEngine
from tests.waiting import PATIENCE


class OneModel:
    def models(self) -> Sequence[Model]:
        return [MODEL]

    def get(self, name: str) -> Model:
        assert name == MODEL.name
        return MODEL


@asynccontextmanager
async def farm(folder: Path) -> AsyncIterator[tuple[Coordinator, ScriptedEngine]]:
    engine = ScriptedEngine()
    async with Coordinator.open(folder, OneModel(), engine) as coordinator:
        yield coordinator, engine


async def submit(coordinator: Coordinator, count: int = 3, request_id: str = "", model: str = "shapes") -> str:
    spec = JobSpec(model, defaults=ImageSpec(seed=100))
    submission = await coordinator.open_submission(spec, "alice", request_id, None)
    try:
        await submission.add([ImageSpec(prompt=f"prompt {index}") for index in range(count)])
        return await submission.accept()
    finally:
        await submission.abandon()


async def ended(coordinator: Coordinator, job_id: str) -> JobView:
    async for event in coordinator.watch(job_id, 0):
        view = event.event
    assert isinstance(view, JobView), "the last event of a watch is the job"
    return view


async def until(coordinator: Coordinator, job_id: str, state: JobState) -> JobView:
    async with asyncio.timeout(PATIENCE):
        while (view := await coordinator.job(job_id)).state is not state:
            await asyncio.sleep(0.01)
    return view


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "images").rglob("*.png"))


async def test_a_batch_is_rendered_and_every_image_can_be_fetched_with_its_own_prompt_and_seed(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator)
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(engine.finish_everything())
            job = await ended(coordinator, job_id)
            working.cancel()
        assert (job.state, job.succeeded_count, job.failed_count) == (JobState.SUCCEEDED, 3, 0)
        images = await coordinator.images(job_id, frozenset(), -1, 10)
        assert [(image.spec.prompt, image.spec.seed) for image in images] == [
            ("prompt 0", 100),
            ("prompt 1", 101),
            ("prompt 2", 102),
        ]
        assert [coordinator.artifact_path(image).read_bytes() for image in images] == [
            png("0 prompt 0"),
            png("1 prompt 1"),
            png("2 prompt 2"),
        ]


async def test_a_late_file_of_a_job_that_ended_just_before_a_crash_is_swept_away(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, count=2)
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(engine.finish_everything())
            await ended(coordinator, job_id)
            working.cancel()
    images = files(tmp_path)
    (tmp_path / "images" / job_id / "00000" / "00000001-9.png").write_bytes(png("late"))
    async with farm(tmp_path):
        assert files(tmp_path) == images


async def test_an_image_that_was_committed_is_never_rendered_again_after_a_restart(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator)
        first = await engine.next_assignment()
        engine.finish_image(first.key, 0)
        await anext(event async for event in coordinator.watch(job_id, 0) if isinstance(event.event, ImageView))
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        engine.finish_image(first.key, 1, png("late"))
        again = [await engine.next_assignment() for _ in range(2)]
        assert [index for assignment in again for index, _ in assignment.images] == [1, 2]
        assert all(assignment.key.number > first.key.number for assignment in again)
        for assignment in again:
            engine.finish(assignment)
        job = await ended(coordinator, job_id)
        assert (job.state, job.succeeded_count) == (JobState.SUCCEEDED, 3)
        assert coordinator.artifact_path(await coordinator.image(job_id, 1)).read_bytes() == png("1 prompt 1")
    assert len(files(tmp_path)) == 3


async def test_a_worker_that_kept_its_attempt_over_the_coordinators_restart_goes_on_with_it(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 2)
        held = await engine.next_assignment()
    async with farm(tmp_path) as (coordinator, engine):
        engine.join("w", held.key)
        engine.finish(held)
        assert (await ended(coordinator, job_id)).succeeded_count == 2
        assert engine.assigned.empty()


async def test_a_result_of_an_attempt_that_was_fenced_off_is_refused_and_leaves_no_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 1)
        lost = await engine.next_assignment()
        engine.report(AttemptReport(lost.key, AttemptState.ABANDONED, "the renderer died", 0))
        again = await engine.next_assignment()
        engine.finish_image(lost.key, 0, png("late"))
        engine.finish(again)
        await ended(coordinator, job_id)
        assert (await coordinator.image(job_id, 0)).committed is not None
        assert files(tmp_path) == [f"00000000-{again.key.number}.png"]
        assert f"result.refused job={job_id} attempt={lost.key.number} image=0 " in caplog.text


async def test_an_interruption_costs_an_image_no_try_but_its_own_failures_do(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 1)
        for _ in range(3):
            assignment = await engine.next_assignment()
            engine.report(AttemptReport(assignment.key, AttemptState.ABANDONED, "asleep"))
        for _ in range(3):
            assignment = await engine.next_assignment()
            engine.report(ImageFailureReport(assignment.key, 0, "NOT_FINITE", "its latents are not finite"))
            engine.report(AttemptReport(assignment.key, AttemptState.SUCCEEDED))
        job = await ended(coordinator, job_id)
        assert (job.state, job.failed_count, job.reason) == (JobState.FAILED, 1, "every image failed")
        image = await coordinator.image(job_id, 0)
        assert (image.state, image.error_reason) == (ImageState.FAILED, "NOT_FINITE")


async def test_what_failed_is_rendered_again_on_request_and_only_that(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 2)
        for _ in range(3):
            assignment = await engine.next_assignment()
            if any(index == 0 for index, _ in assignment.images):
                engine.finish_image(assignment.key, 0)
            engine.report(ImageFailureReport(assignment.key, 1, "BAD", "it is bad"))
            engine.report(AttemptReport(assignment.key, AttemptState.SUCCEEDED))
        assert (await until(coordinator, job_id, JobState.SUCCEEDED)).failed_count == 1
        await coordinator.retry_job(job_id)
        assignment = await engine.next_assignment()
        assert [index for index, _ in assignment.images] == [1]
        engine.finish(assignment)
        job = await until(coordinator, job_id, JobState.SUCCEEDED)
        assert (job.succeeded_count, job.failed_count) == (2, 0)
        with pytest.raises(WrongStateError, match="nothing to retry"):
            await coordinator.retry_job(job_id)


async def test_a_job_that_is_tried_again_costs_what_its_images_ask_for_and_not_its_defaults(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, _):
        submission = await coordinator.open_submission(JobSpec("shapes"), "alice", "", None)
        await submission.add([ImageSpec(prompt="p", steps=40, sampler="heun"), ImageSpec(prompt="p", steps=21)])
        job_id = await submission.accept()
        await coordinator.cancel_job(job_id)
        await until(coordinator, job_id, JobState.CANCELLED)
    async with farm(tmp_path) as (coordinator, _):
        await coordinator.retry_job(job_id)
    storage = Storage(tmp_path)
    try:
        recovered = await recover(storage, Clock())
    finally:
        storage.close()
    assert recovered.jobs[job_id].kind.steps == ((2 * 40 - 1) + 21) // 2


async def test_an_image_whose_file_is_gone_or_was_changed_can_be_retried(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 3)
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(engine.finish_everything())
            await ended(coordinator, job_id)
            coordinator.artifact_path(await coordinator.image(job_id, 0)).unlink()
            coordinator.artifact_path(await coordinator.image(job_id, 2)).write_bytes(b"junk")
            await coordinator.retry_job(job_id)
            job = await ended(coordinator, job_id)
            working.cancel()
        assert (job.state, job.succeeded_count) == (JobState.SUCCEEDED, 3)
        attempts = [(await coordinator.image(job_id, index)).committed for index in range(3)]
        assert [committed is not None for committed in attempts] == [True] * 3
        assert coordinator.artifact_path(await coordinator.image(job_id, 2)).read_bytes() == png("2 prompt 2")
        assert len(files(tmp_path)) == 3
        with pytest.raises(WrongStateError, match="nothing to retry"):
            await coordinator.retry_job(job_id)


async def test_cancelling_stops_what_runs_and_keeps_what_is_done(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator)
        running = await engine.next_assignment()
        engine.finish_image(running.key, 0)
        await anext(event async for event in coordinator.watch(job_id, 0) if isinstance(event.event, ImageView))
        assert (await coordinator.cancel_job(job_id)).state is JobState.CANCELLING
        for key in engine.cancelled:
            engine.report(AttemptReport(key, AttemptState.CANCELLED))
        job = await until(coordinator, job_id, JobState.CANCELLED)
        assert job.succeeded_count == 1
        images = await coordinator.images(job_id, frozenset({ImageState.CANCELLED}), -1, 10)
        assert [image.index for image in images] == [1, 2]
        assert (await coordinator.cancel_job(job_id)).state is JobState.CANCELLED
        with pytest.raises(WrongStateError, match="has ended"):
            await coordinator.pause_job(job_id)


async def test_pausing_lets_the_current_image_finish_and_starts_nothing_until_the_job_is_resumed(
    tmp_path: Path,
) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 1)
        running = await engine.next_assignment()
        assert (await coordinator.pause_job(job_id)).state is JobState.PAUSED
        assert engine.released == [running.key]
        engine.report(AttemptReport(running.key, AttemptState.ABANDONED, "released"))
        await asyncio.sleep(0.1)
        assert engine.assigned.empty()
        await coordinator.resume_job(job_id)
        engine.finish(await engine.next_assignment())
        assert (await ended(coordinator, job_id)).state is JobState.SUCCEEDED


async def test_a_drained_worker_gets_nothing_new_until_it_is_resumed_even_over_a_restart(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        async with asyncio.timeout(PATIENCE):
            while not await coordinator.workers():
                await asyncio.sleep(0.01)
        assert (await coordinator.drain_worker("w", now=False)).state is WorkerState.DRAINING
        with pytest.raises(WorkerNotFoundError):
            await coordinator.drain_worker("nobody", now=False)
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator)
        await asyncio.sleep(0.1)
        assert engine.assigned.empty()
        explanation = await coordinator.explain(job_id)
        assert [why.reason for why in explanation.workers] == ["DRAINING"]
        await coordinator.resume_worker("w")
        await engine.next_assignment()


async def test_the_same_submission_sent_again_is_the_same_job_and_another_is_refused(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, _):
        job_id = await submit(coordinator, 3, "id-1")
        assert await submit(coordinator, 3, "id-1") == job_id
        with pytest.raises(RequestIdReusedError, match="another submission"):
            await submit(coordinator, 4, "id-1")
        assert len(await coordinator.jobs(frozenset(), None, None, 10)) == 1
    async with farm(tmp_path) as (coordinator, _):
        assert await submit(coordinator, 3, "id-1") == job_id


async def test_two_calls_with_one_request_id_at_the_same_time_make_one_job(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, _):
        spec = JobSpec("shapes", defaults=ImageSpec(prompt="p"))
        first = await coordinator.open_submission(spec, "alice", "id-1", None)
        with pytest.raises(SubmissionUnderWayError):
            await coordinator.open_submission(spec, "alice", "id-1", None)
        await first.abandon()
        second = await coordinator.open_submission(spec, "alice", "id-1", None)
        await second.accept()
        await second.abandon()
        assert len(await coordinator.jobs(frozenset(), None, None, 10)) == 1


async def test_a_submission_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, _):
        submission = await coordinator.open_submission(JobSpec("shapes"), "alice", "", 5)
        await submission.add([ImageSpec(prompt="p")])
        with pytest.raises(InvalidRequestError, match="5 entries were announced and 1 came"):
            await submission.accept()
        await submission.abandon()
        assert await coordinator.jobs(frozenset(), None, None, 10) == []


async def test_everything_that_is_wrong_with_a_submission_is_named_at_once(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, _):
        bad = JobSpec(
            "shapes",
            display_name="red\33[31m",
            priority=1000,
            defaults=ImageSpec(steps=0, sampler="magic", guidance_scale=float("nan")),
        )
        with pytest.raises(InvalidRequestError) as caught:
            await coordinator.open_submission(bad, "alice", "", None)
        assert set(caught.value.violations) == {
            "spec.display_name",
            "spec.priority",
            "spec.defaults.steps",
            "spec.defaults.sampler",
            "spec.defaults.guidance_scale",
        }
        submission = await coordinator.open_submission(JobSpec("shapes"), "alice", "", None)
        with pytest.raises(InvalidRequestError) as caught:
            await submission.add([ImageSpec(prompt="fine"), ImageSpec(seed=-1), ImageSpec(prompt="p\0", width=63)])
        assert set(caught.value.violations) == {
            "entries[1].seed",
            "entries[1].prompt",
            "entries[2].prompt",
            "entries[2].width",
        }
        await submission.abandon()


async def test_steps_that_a_sampler_cannot_do_are_refused_whoever_named_the_sampler(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, _):
        lcm = JobSpec("shapes", defaults=ImageSpec(prompt="p", sampler="lcm"))
        submission = await coordinator.open_submission(lcm, "alice", "", None)
        with pytest.raises(InvalidRequestError) as caught:
            await submission.add([ImageSpec(steps=50), ImageSpec(steps=51), ImageSpec(steps=51, sampler="euler")])
        assert caught.value.violations == {
            "entries[1].steps": "is 51; it must be from 1 to 50 with the sampler lcm",
        }
        await submission.abandon()


async def test_jobs_are_listed_newest_first_page_by_page_and_by_state(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, _):
        made = [await submit(coordinator) for _ in range(3)]
        await coordinator.cancel_job(made[1])
        listed = await coordinator.jobs(frozenset(), None, None, 2)
        assert [job.job_id for job in listed] == [made[2], made[1]]
        rest = await coordinator.jobs(frozenset(), None, (listed[-1].create_time, listed[-1].job_id), 2)
        assert [job.job_id for job in rest] == [made[0]]
        cancelled = await coordinator.jobs(frozenset({JobState.CANCELLED}), "alice", None, 10)
        assert [job.job_id for job in cancelled] == [made[1]]
        assert await coordinator.jobs(frozenset(), "bob", None, 10) == []


async def test_a_deleted_job_is_gone_with_its_images(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 1)
        with pytest.raises(WrongStateError, match="Cancel it first"):
            await coordinator.delete_job(job_id)
        engine.finish(await engine.next_assignment())
        await ended(coordinator, job_id)
        with pytest.raises(ImageNotFoundError):
            await coordinator.image(job_id, 1)
        await coordinator.delete_job(job_id)
        with pytest.raises(JobNotFoundError):
            await coordinator.job(job_id)
        assert files(tmp_path) == []


async def test_a_watch_resumes_after_the_last_image_seen_and_misses_none(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 10)
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(engine.finish_everything())
            seen: list[int] = []
            sequence = 0
            async for event in coordinator.watch(job_id, 0):
                if isinstance(event.event, ImageView):
                    seen.append(event.event.index)
                    sequence = event.sequence
                if len(seen) == 4:
                    break
            rest = [event.event async for event in coordinator.watch(job_id, sequence)]
            seen += [event.index for event in rest if isinstance(event, ImageView)]
            working.cancel()
        assert sorted(seen) == list(range(10))


async def test_a_watch_tells_how_attempts_begin_and_end(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        job_id = await submit(coordinator, 1)
        events = coordinator.watch(job_id, None)
        await anext(events)
        engine.join()
        lost = await engine.next_assignment()
        engine.report(AttemptReport(lost.key, AttemptState.ABANDONED, "the renderer died"))
        engine.finish(await engine.next_assignment())
        story = [(e.event.number, e.event.state) async for e in events if isinstance(e.event, AttemptView)]
        assert story == [
            (1, AttemptState.RUNNING),
            (1, AttemptState.ABANDONED),
            (2, AttemptState.RUNNING),
            (2, AttemptState.SUCCEEDED),
        ]


async def test_a_silent_worker_loses_its_images_to_others_and_its_late_result_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("farm.scheduler.scheduler.LEASE_SECONDS", 2.0)  # a busy machine submits within it
    async with farm(tmp_path) as (coordinator, engine):
        engine.join("silent")
        job_id = await submit(coordinator, 1)
        lost = await engine.next_assignment()
        async with asyncio.timeout(PATIENCE):
            while (await coordinator.worker("silent")).state is not WorkerState.OFFLINE:
                await asyncio.sleep(0.02)
        monkeypatch.setattr("farm.scheduler.scheduler.LEASE_SECONDS", 60.0)
        engine.join("other")
        again = await engine.next_assignment()
        engine.finish_image(lost.key, 0, png("late"), "silent")
        engine.finish(again, "other")
        await ended(coordinator, job_id)
        committed = (await coordinator.image(job_id, 0)).committed
        assert committed is not None
        assert committed.worker_id == "other"
        assert f"result.refused job={job_id} attempt={lost.key.number} image=0 worker=silent " in caplog.text


async def test_an_image_that_cannot_be_stored_pauses_its_job_with_the_reason_and_is_not_lost(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 1)
        assignment = await engine.next_assignment()
        in_the_way = tmp_path / "images" / job_id / "00000" / f"00000000-{assignment.key.number}.png"
        in_the_way.mkdir(parents=True)
        engine.finish_image(assignment.key, 0)
        job = await until(coordinator, job_id, JobState.PAUSED)
        assert "could not be stored" in job.reason
        in_the_way.rmdir()
        await coordinator.resume_job(job_id)
        engine.finish(await engine.next_assignment())
        assert (await ended(coordinator, job_id)).succeeded_count == 1


async def test_a_second_coordinator_on_a_state_folder_is_refused_with_a_way_out(tmp_path: Path) -> None:
    async with farm(tmp_path):
        with pytest.raises(JournalError, match="Another coordinator uses the state folder"):
            async with farm(tmp_path):
                pass
    async with farm(tmp_path):
        pass


async def test_jobs_wait_while_the_disk_is_full_and_go_on_by_themselves_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How full a real disk is cannot be chosen here; tests/abuse fills one where it may."""
    room = {"free": 100 << 30}
    monkeypatch.setattr("farm.coordinator.disk_guard.PERIOD_SECONDS", 0.05)
    monkeypatch.setattr("farm.coordinator.artifacts.ArtifactStore.room", lambda _: (room["free"], 500 << 30))
    async with farm(tmp_path) as (coordinator, engine):
        held, job_id = await submit(coordinator, 1), await submit(coordinator, 1)
        await coordinator.pause_job(held)
        engine.join()
        running = await engine.next_assignment()
        room["free"] = 1 << 20
        job = await until(coordinator, job_id, JobState.PAUSED)
        assert "nearly full: 1 MB are free" in job.reason
        with pytest.raises(DiskFullError):
            await submit(coordinator)
        engine.report(AttemptReport(running.key, AttemptState.ABANDONED, "released"))
        room["free"] = 100 << 30
        engine.finish(await engine.next_assignment())
        assert (await ended(coordinator, job_id)).state is JobState.SUCCEEDED
        assert (await coordinator.job(held)).reason == "paused on request", "a person's pause is a person's to end"


@pytest.mark.parametrize("garbage", [b"garbage", png(width=63), png()[:-5]], ids=["garbage", "another size", "cut"])
async def test_a_file_that_is_not_the_image_that_was_asked_for_does_not_count(tmp_path: Path, garbage: bytes) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 1)
        bad = await engine.next_assignment()
        engine.finish_image(bad.key, 0, garbage)
        engine.report(AttemptReport(bad.key, AttemptState.SUCCEEDED))
        engine.finish(await engine.next_assignment())
        assert (await ended(coordinator, job_id)).succeeded_count == 1
        assert len(files(tmp_path)) == 1


async def test_an_image_that_is_delivered_twice_counts_once_and_keeps_its_file(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 2)
        first = await engine.next_assignment()
        engine.finish_image(first.key, 0, png("first"))
        engine.finish_image(first.key, 0, png("again"))
        await anext(event async for event in coordinator.watch(job_id, 0) if isinstance(event.event, ImageView))
        engine.say(Reported("w", ImageReport(first.key, 0, png("and again"), PROVENANCE, 0.01), 7))
        await engine.acknowledgements(7)
        image = await coordinator.image(job_id, 0)
        assert coordinator.artifact_path(image).read_bytes() == png("first")
        assert len(files(tmp_path)) == 1


async def test_a_job_that_no_worker_can_render_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        await wait_for_worker(coordinator)
        spec = JobSpec("shapes", defaults=ImageSpec(prompt="x"), pin=Pin(worker_labels={"room": "4"}))
        with pytest.raises(InfeasibleJobError, match=r"w has no label room=4"):
            await coordinator.open_submission(spec, "alice", "request", None)
        repeated = await coordinator.open_submission(replace(spec, pin=Pin()), "alice", "request", None)
        await repeated.abandon()


async def test_a_job_for_a_model_that_no_worker_has_is_refused_with_how_a_worker_gets_it(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.say(Joined("w", worker_facts(offers=())))
        await wait_for_worker(coordinator)
        spec = JobSpec("shapes", defaults=ImageSpec(prompt="x"))
        with pytest.raises(
            InfeasibleJobError, match=r"does not have the model shapes.*on a Mac run `farm models pull`"
        ):
            await coordinator.open_submission(spec, "alice", "request", None)


async def test_a_second_attempt_renders_from_the_other_end_and_the_loser_is_told_to_stop(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join("slow")
        job_id = await submit(coordinator, 2)
        first = await engine.next_assignment()
        engine.finish_image(first.key, 0, worker_id="slow")
        assert [index for index, _ in first.images] == [0, 1]
        await wait_until_committed(coordinator, job_id, 1)
        engine.join("quick")
        second = await engine.next_assignment()
        assert [index for index, _ in second.images] == [1]
        engine.finish(second, "quick")
        job = await ended(coordinator, job_id)
        assert job.state is JobState.SUCCEEDED
        assert first.key in engine.cancelled


async def wait_until_committed(coordinator: Coordinator, job_id: str, images: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await coordinator.job(job_id)).succeeded_count < images:
            await asyncio.sleep(0.01)


async def wait_for_worker(coordinator: Coordinator) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await coordinator.workers():
            await asyncio.sleep(0.01)
