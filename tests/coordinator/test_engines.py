"""What every engine promises, held against each of them with real workers."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from queue import SimpleQueue

import pytest

from farm.coordinator.engine import Heartbeat, Joined, Reported
from farm.diffusion.png import read_provenance
from farm.domain import AttemptState, Resident, WorkerFacts
from farm.errors import VersionMismatchError
from farm.reports import AttemptReport, ImageReport, ResidencyReport, StageReport, StepReport
from farm.scheduler.state import LEASE_SECONDS
from farm.worker.null_renderer import NullRenderer
from farm.worker.service import run_worker
from tests.coordinator.engine_rigs import SECONDS_PER_IMAGE, Rig, joined, local_rig, ray_rig
from tests.waiting import eventually
from tests.worker.builders import assignment

pytestmark = pytest.mark.timeout(900)

RIGS = {"local": local_rig, "ray": ray_rig}


@pytest.fixture(scope="module", params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with RIGS[request.param](tmp_path_factory.mktemp("workers")) as rig:
        joined(rig)
        yield rig


def test_every_worker_joins_with_what_it_is_and_holds_nothing(rig: Rig) -> None:
    for message in joined(rig):
        assert message.facts.chip == "null renderer"
        assert message.attempts == frozenset()


def test_images_come_whole_and_in_order_from_the_worker_that_they_were_assigned_to(rig: Rig) -> None:
    for number, worker_id in enumerate(rig.workers, 10):
        rig.call(rig.engine.assign, worker_id, assignment(number, "a", "b", "c"))
    for number, worker_id in enumerate(rig.workers, 10):
        expected = assignment(number, "a", "b", "c")
        assert rig.end_of(expected.key).state is AttemptState.SUCCEEDED
        images = rig.images_of(expected.key)
        assert [image.index for image in images] == [index for index, _ in expected.images]
        assert [read_provenance(image.png).spec for image in images] == [spec for _, spec in expected.images]
        told = [m for m in rig.messages if isinstance(m, Reported) and getattr(m.report, "key", None) == expected.key]
        assert {message.worker_id for message in told} == {worker_id}


def test_an_attempt_ends_after_its_last_image_and_the_next_one_begins_after_that(rig: Rig) -> None:
    first, second = assignment(20, "a", "b"), assignment(21, "c")
    for given in (first, second):
        rig.call(rig.engine.assign, rig.workers[0], given)
    rig.end_of(second.key)
    kinds = (ImageReport, AttemptReport)
    told = [m.report for m in rig.messages if isinstance(m, Reported) and isinstance(m.report, kinds)]
    story = [(type(r), r.key.number) for r in told if r.key in (first.key, second.key)]
    assert story == [
        (ImageReport, 20),
        (ImageReport, 20),
        (AttemptReport, 20),
        (ImageReport, 21),
        (AttemptReport, 21),
    ]


def test_stages_and_steps_are_told_while_an_image_is_rendered(rig: Rig) -> None:
    given = assignment(30, "a", steps=4)
    rig.call(rig.engine.assign, rig.workers[0], given)
    rig.end_of(given.key)
    reports = rig.reports_of(given.key)
    assert any(isinstance(report, StageReport) for report in reports)
    assert [report.step for report in reports if isinstance(report, StepReport)] == [1, 2, 3, 4]


def test_a_cancelled_attempt_ends_at_its_next_step(rig: Rig) -> None:
    given = assignment(40, *["a"] * 100)
    rig.call(rig.engine.assign, rig.workers[0], given)
    rig.wait_for(Reported, lambda m: isinstance(m.report, StepReport) and m.report.key == given.key)
    rig.call(rig.engine.cancel, rig.workers[0], given.key)
    assert rig.end_of(given.key).state is AttemptState.CANCELLED
    assert len(rig.images_of(given.key)) < 50


def test_a_released_attempt_finishes_its_image_and_gives_the_rest_back(rig: Rig) -> None:
    given = assignment(50, *["a"] * 100)
    rig.call(rig.engine.assign, rig.workers[0], given)
    rig.wait_for(Reported, lambda m: isinstance(m.report, StepReport) and m.report.key == given.key)
    rig.call(rig.engine.release, rig.workers[0], given.key)
    assert rig.end_of(given.key).state is AttemptState.ABANDONED
    assert 1 <= len(rig.images_of(given.key)) < 50


def test_an_assignment_without_images_loads_its_model_and_ends(rig: Rig) -> None:
    given, seen = replace(assignment(55), images=()), len(rig.messages)
    rig.call(rig.engine.assign, rig.workers[0], given)
    assert rig.end_of(given.key).state is AttemptState.SUCCEEDED
    rig.wait_for(
        Reported,
        lambda m: m.report == ResidencyReport((Resident(given.model, given.model_digest, given.compute_unit),)),
        after=seen,
    )
    assert rig.images_of(given.key) == []


def test_every_worker_is_heard_of_at_least_twice_in_a_lease(rig: Rig) -> None:
    def beats(worker_id: str) -> list[float]:
        told = zip(rig.messages, rig.arrived, strict=False)
        return [at for message, at in told if isinstance(message, Heartbeat) and message.worker_id == worker_id]

    def is_in_time(worker_id: str) -> bool:
        """A machine that is busy may delay some beats; most show what the worker means to do."""
        gaps = [later - earlier for earlier, later in pairwise(beats(worker_id))]
        return len(gaps) >= 3 and statistics.median(gaps) < LEASE_SECONDS / 2

    for worker_id in rig.workers:
        assert eventually(partial(is_in_time, worker_id)), beats(worker_id)


def test_orders_for_workers_and_attempts_that_do_not_exist_are_no_errors(rig: Rig) -> None:
    for tell in (rig.engine.cancel, rig.engine.release):
        rig.call(tell, rig.workers[0], assignment(60).key)
    rig.call(rig.engine.acknowledge, rig.workers[0], 12345)
    given = assignment(61)
    rig.call(rig.engine.assign, rig.workers[0], given)
    assert rig.end_of(given.key).state is AttemptState.SUCCEEDED


class OtherVersion(NullRenderer):
    """Says of its machine what this version of the farm cannot read."""

    @property
    def facts(self) -> WorkerFacts:
        return replace(super().facts, chip=None)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("rig", ["ray"], indirect=True)
def test_a_worker_whose_greeting_cannot_be_read_ends_and_says_what_to_do(rig: Rig) -> None:
    assert rig.settings is not None
    with pytest.raises(VersionMismatchError, match="check out what the coordinator runs"):
        run_worker(rig.settings("other"), OtherVersion(), SimpleQueue())


def test_nobody_joined_twice_in_all_that_time(rig: Rig) -> None:
    assert sorted(m.worker_id for m in rig.messages if isinstance(m, Joined)) == sorted(rig.workers)


def test_a_stopped_engine_says_nothing_more(rig: Rig) -> None:
    given = assignment(70, *["a"] * 100)
    rig.call(rig.engine.assign, rig.workers[0], given)
    rig.wait_for(Reported, lambda m: isinstance(m.report, StepReport) and m.report.key == given.key)
    rig.stop()
    told = len(rig.messages)
    time.sleep(SECONDS_PER_IMAGE * 3)
    assert len(rig.messages) == told
