"""What the coordinator's metrics say of what happened, from its API down to the exposition."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from farm.coordinator.coordinator import Coordinator
from farm.coordinator.engine import Left
from farm.coordinator.metering import Metering
from farm.domain import AttemptState, ComputeUnit, ImageSpec, JobSpec, Measurement
from farm.metrics import COORDINATOR, Meters
from farm.reports import AttemptReport, ImageFailureReport, MeasurementReport, StepReport
from farm.scheduler import events as ev
from farm.scheduler.scheduler import decide
from farm.scheduler.state import LEASE_SECONDS, FarmState
from farm.scheduler.transitions import apply
from tests.builders import MODEL, OFFER, worker_facts
from tests.coordinator.scripted_engine import ScriptedEngine
from tests.coordinator.test_coordinator import OneModel
from tests.expositions import Exposition
from tests.waiting import PATIENCE

HOW = {"model": MODEL.name, "chip_class": "CPU", "compute_unit": "CPU_ONLY", "attention": "ORIGINAL"}


@asynccontextmanager
async def farm(folder: Path) -> AsyncIterator[tuple[Coordinator, ScriptedEngine]]:
    engine = ScriptedEngine()
    async with Coordinator.open(folder, OneModel(), engine) as coordinator:
        yield coordinator, engine


async def submit(coordinator: Coordinator, count: int) -> str:
    submission = await coordinator.open_submission(JobSpec(MODEL.name, defaults=ImageSpec(seed=1)), "alice", "", None)
    await submission.add([ImageSpec(prompt=f"prompt {index}") for index in range(count)])
    return await submission.accept()


async def until(coordinator: Coordinator, holds: Callable[[Exposition], bool]) -> Exposition:
    async with asyncio.timeout(PATIENCE):
        while not holds(told := Exposition((await coordinator.metrics())[0].decode())):
            await asyncio.sleep(0.01)
    return told


async def test_images_steps_failures_and_jobs_are_counted_by_how_they_were_rendered(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        # What nobody has measured is foretold blindly, and not held against the forecasts.
        measured = Measurement(OFFER.digest, ComputeUnit.CPU_ONLY, 0.01, 0.0, 1.0, 0.0, 0)
        engine.report(MeasurementReport(measured))
        await submit(coordinator, 2)
        first = await engine.next_assignment()
        engine.report(StepReport(first.key, first.images[0][0], 1, 4))
        engine.report(ImageFailureReport(first.key, first.images[0][0], "IMAGE_FAILED", "it is bad"))
        engine.report(AttemptReport(first.key, AttemptState.SUCCEEDED))
        working = asyncio.create_task(engine.finish_everything())
        told = await until(coordinator, lambda told: told.value("farm_jobs_ended_total", state="SUCCEEDED") == 1)
        working.cancel()
        assert told.value("farm_images_committed_total", **HOW) == 2
        assert told.value("farm_image_render_seconds_count", **HOW) == 2
        assert told.value("farm_image_bytes_total", model=MODEL.name) > 100
        assert told.value("farm_steps_total", **HOW) == 1
        assert told.value("farm_image_failures_total", **HOW, reason="IMAGE_FAILED", outcome="tried_again") == 1
        assert told.value("farm_attempts_ended_total", state="SUCCEEDED", chip_class="CPU") >= 2
        assert told.value("farm_journal_commit_seconds_count") >= 3
        assert told.value("farm_eta_ratio_count") >= 1


async def test_what_waits_who_is_there_and_who_works_is_told_as_it_is_when_it_is_asked(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        assert (await until(coordinator, lambda _: True)).value("farm_jobs", state="PENDING") == 0
        await submit(coordinator, 3)
        told = await until(coordinator, lambda told: told.value("farm_queue_stalled_seconds") > 0)
        assert told.value("farm_queue_images", model=MODEL.name) == 3
        assert told.value("farm_jobs", state="PENDING") == 1
        engine.join()
        told = await until(coordinator, lambda told: told.value("farm_worker_busy", worker="w") == 1)
        assert told.value("farm_workers", state="ACTIVE", chip_class="CPU") == 1
        assert told.value("farm_worker_state", worker="w", state="ACTIVE") == 1
        assert told.value("farm_leases") == 1
        assert told.value("farm_worker_last_seen_timestamp_seconds", worker="w") > 1.7e9
        assert told.value("farm_queue_images") + told.value("farm_running_images") == 3


async def test_lost_attempts_and_late_results_are_counted(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        await submit(coordinator, 1)
        lost = await engine.next_assignment()
        engine.say(Left("w", "its daemon ended"))
        await until(coordinator, lambda told: told.value("farm_attempts_ended_total", state="ABANDONED") == 1)
        engine.finish_image(lost.key, 0)
        told = await until(coordinator, lambda told: told.value("farm_results_refused_total") == 1)
        assert told.value("farm_workers", state="OFFLINE") == 1
        assert told.value("farm_leases_expired_total") == 0  # it said good-bye


def test_a_worker_that_falls_silent_costs_a_lease() -> None:
    state = FarmState()
    metering = Metering(Meters(COORDINATOR), state)
    apply(state, ev.WorkerJoined("w", 0.0, worker_facts()))
    for event in decide(state, 2 * LEASE_SECONDS):
        apply(state, event)
        metering.observe([(0, event)])
    metering.measure(2 * LEASE_SECONDS)
    told = Exposition(metering.meters.exposition()[0].decode())
    assert (told.value("farm_leases_expired_total"), told.value("farm_leases")) == (1, 0)


async def test_no_series_names_a_job_or_a_submitter(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        job_id = await submit(coordinator, 3)
        working = asyncio.create_task(engine.finish_everything())
        told = await until(coordinator, lambda told: told.value("farm_jobs_ended_total") == 1)
        working.cancel()
        assert not [label for label in told.labels() if job_id in label or "alice" in label]
