"""Kills, stops and cuts off real processes of a fleet in the middle of a batch: every image counts once."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ray.batch import SILENCE, Batch
from tests.ray.fleet import PATIENCE, Fleet, kill, kill_tree, running_fleet
from tests.waiting import eventually

WITHIN_A_LEASE = 45.0
"""On a machine that is busy with other tests; much less than workers have to come back to a new driver."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def shared_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest.fixture
def fleet(shared_fleet: Fleet) -> Fleet:
    shared_fleet.revive()
    shared_fleet.wait_until_whole()
    return shared_fleet


@pytest.fixture
def batch(fleet: Fleet, tmp_path: Path) -> Batch:
    return Batch(fleet, tmp_path)


def test_a_bridge_that_is_killed_costs_nothing(fleet: Fleet, batch: Batch) -> None:
    kill(fleet.part(fleet.workers["one"], r"ray::Bridge"))
    batch.finish()
    assert batch.lost_but_for() == []
    assert eventually(lambda: "worker.suspended worker=one " in batch.log(), PATIENCE), "nobody noticed"


def test_a_ray_node_that_is_killed_costs_nothing(fleet: Fleet, batch: Batch) -> None:
    before = fleet.log("one").count("raylet.up")
    kill(fleet.part(fleet.workers["one"], r"raylet/raylet "))
    batch.finish()
    assert batch.lost_but_for() == []
    assert eventually(lambda: fleet.log("one").count("raylet.up") > before, PATIENCE), fleet.log("one")


def test_a_driver_that_is_killed_costs_nothing(fleet: Fleet, batch: Batch) -> None:
    kill(fleet.part(fleet.coordinator, r"ray_driver"))
    batch.finish()
    # What was on its way to a worker at that moment is lost, and nothing of it was rendered.
    assert batch.lost_but_for("came back without it") == []
    assert "driver_lost how='was ended by signal 9 (Killed" in batch.log()


@pytest.mark.slow  # each is given a minute
def test_a_driver_or_a_bridge_that_hangs_is_replaced(fleet: Fleet) -> None:
    for owner, command in ((fleet.coordinator, r"ray_driver"), (fleet.workers["one"], r"ray::Bridge")):
        hung = fleet.part(owner, command)
        kill(hung, signal.SIGSTOP)
        assert eventually(lambda: "one" not in fleet.active(), PATIENCE)
        fleet.wait_until_whole()
        assert fleet.part(owner, command) != hung
    assert "ray_engine.driver_hung" in fleet.log("coordinator")


def test_a_head_that_is_killed_costs_nothing_but_time(fleet: Fleet, batch: Batch) -> None:
    kill(fleet.part(fleet.coordinator, r"gcs_server "))
    batch.finish()
    assert batch.lost_but_for() == []
    assert "ray_engine.head_lost" in batch.log()


def test_a_coordinator_that_is_killed_costs_nothing_but_time(fleet: Fleet, batch: Batch) -> None:
    before = batch.committed()
    fleet.coordinator.kill()
    fleet.coordinator.wait()
    assert eventually(lambda: len(fleet.kept("one")) >= 10), "the worker does not go on with what it has"
    fleet.start_coordinator()
    batch.finish()
    assert before.items() <= batch.committed().items()
    # What was written down and not yet sent when it died is placed again.
    assert batch.lost_but_for("came back without it") == []


def test_a_worker_that_is_killed_loses_its_images_to_others_at_once_and_comes_back(fleet: Fleet, batch: Batch) -> None:
    fleet.workers["one"].kill()
    fleet.workers["one"].wait()
    assert eventually(lambda: fleet.active() == {"two"}, PATIENCE), "it was not noticed"
    batch.finish()
    assert batch.lost_attempts()
    assert batch.lost_but_for("its daemon ended") == []
    fleet.start_worker("one")
    fleet.wait_until_whole()


def test_a_mac_that_dies_as_a_whole_loses_its_images_to_others_within_a_lease(fleet: Fleet, batch: Batch) -> None:
    kill_tree(fleet.workers["one"].pid)
    fleet.workers["one"].wait()
    assert eventually(batch.lost_attempts, WITHIN_A_LEASE), "its images were not given to others"
    batch.finish()
    assert batch.lost_but_for(" worker=one ") == []
    fleet.start_worker("one")


def test_a_worker_that_is_stopped_beyond_its_lease_and_woken_delivers_late_and_is_refused(
    fleet: Fleet, batch: Batch
) -> None:
    os.kill(fleet.workers["one"].pid, signal.SIGSTOP)
    assert eventually(lambda: fleet.active() == {"two"}, PATIENCE), "it was not missed"
    lost = batch.lost_numbers()
    assert lost, batch.log()
    counted = by_attempts(batch, lost)
    os.kill(fleet.workers["one"].pid, signal.SIGCONT)
    refusals = [
        f"dispatcher.refused reason='Attempt {number} of job {batch.job_id} does not count any more.'"
        for number in lost
    ]
    assert eventually(lambda: all(refusal in batch.log() for refusal in refusals)), refusals
    batch.finish()
    assert any(SILENCE in line for line in batch.lost_attempts()), batch.log()
    assert batch.lost_but_for(" worker=one ") == []
    assert by_attempts(batch, lost) == counted, "what came late was counted"
    fleet.wait_until_whole()
    assert eventually(lambda: not fleet.kept("one")), "the outbox is not empty"


def by_attempts(batch: Batch, numbers: set[int]) -> set[int]:
    """Indices of the images that are committed by some attempts."""
    return {index for index, (_, number) in batch.committed().items() if number in numbers}


def test_a_worker_that_is_told_to_stop_gives_back_what_it_has_and_leaves(fleet: Fleet, batch: Batch) -> None:
    fleet.workers["one"].terminate()
    assert fleet.workers["one"].wait(PATIENCE) == 0
    assert eventually(lambda: fleet.active() == {"two"}, PATIENCE)
    batch.finish()
    assert any("the worker was stopped" in line for line in batch.lost_attempts()), batch.log()
    assert "INFO raylet.stopped" in fleet.log("one")
    fleet.start_worker("one")
