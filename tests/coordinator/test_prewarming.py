"""Models are loaded ahead of their jobs on workers that have nothing to render, and on no others."""

from pathlib import Path

import pytest

from farm.coordinator.engine import Joined, Left, Reported
from farm.domain import AttemptKey, AttemptState, ModelOffer
from farm.errors import WorkerNotFoundError, WrongStateError
from farm.reports import AttemptReport
from tests.builders import OFFER, worker_facts
from tests.coordinator.test_coordinator import farm, submit

OTHER = ModelOffer("other", OFFER.attention, "sha256:other", 64, 64)


async def test_every_worker_that_can_render_with_the_model_is_told_to_load_it_and_to_render_nothing(
    tmp_path: Path,
) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join("a")
        engine.join("b")
        engine.say(Joined("without", worker_facts(offers=(OTHER,))))
        engine.join("gone")
        engine.say(Left("gone", "it was stopped"))
        assert await coordinator.prewarm_model("shapes", ()) == ["a", "b"]
        told = [engine.assigned.get_nowait() for _ in range(2)]
        assert {worker_id for worker_id, _ in told} == {"a", "b"}
        assert {(a.model, a.model_digest, a.images) for _, a in told} == {("shapes", "sha256:original", ())}
        assert told[0][1].key != told[1][1].key


async def test_a_worker_that_renders_is_told_when_it_has_nothing_to_render_any_more(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        await submit(coordinator, 1)
        rendering = await engine.next_assignment()
        assert await coordinator.prewarm_model("shapes", ["w"]) == ["w"]
        assert engine.assigned.empty()
        engine.finish(rendering)
        assert (await engine.next_assignment()).images == ()


async def test_what_a_worker_says_of_it_is_taken_and_it_is_not_stopped_when_the_worker_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        await coordinator.prewarm_model("shapes", ())
        key = (await engine.next_assignment()).key
        engine.join("w", key)
        engine.say(Reported("w", AttemptReport(key, AttemptState.ABANDONED, "weight.bin is cut short"), 1))
        await engine.acknowledgements(1)
        assert engine.cancelled == []
        assert "worker.not_prewarmed worker=w reason='weight.bin is cut short'" in caplog.text


async def test_a_worker_that_is_named_and_cannot_is_an_error_that_says_why(tmp_path: Path) -> None:
    async with farm(tmp_path) as (coordinator, engine):
        engine.join()
        engine.say(Joined("without", worker_facts(offers=(OTHER,))))
        with pytest.raises(WorkerNotFoundError):
            await coordinator.prewarm_model("shapes", ["w", "nobody"])
        with pytest.raises(WrongStateError, match="does not have the model shapes"):
            await coordinator.prewarm_model("shapes", ["w", "without"])
        await coordinator.drain_worker("w", now=False)
        with pytest.raises(WrongStateError, match="DRAINING"):
            await coordinator.prewarm_model("shapes", ["w"])
        assert engine.assigned.empty()


async def test_what_is_left_of_an_earlier_coordinators_order_is_acknowledged(tmp_path: Path) -> None:
    async with farm(tmp_path) as (_, engine):
        engine.join("w", AttemptKey("", 12345))
        engine.say(Reported("w", AttemptReport(AttemptKey("", 12345), AttemptState.SUCCEEDED), 1))
        await engine.acknowledgements(1)
