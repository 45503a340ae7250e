"""Kills, stops and cuts off real processes of a fleet in the middle of a batch: every image counts once."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from farm.client import Client
from farm.domain import ImageSpec, JobState
from tests.cli.processes import eventually
from tests.ray.fleet import PATIENCE, SECONDS_PER_IMAGE, Fleet, committed, defects, kill, running_fleet

IMAGES = 160
BEYOND_A_LEASE = 8.0


@pytest.fixture(scope="module")
def shared_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest.fixture
def fleet(shared_fleet: Fleet) -> Fleet:
    shared_fleet.wait_until_whole()
    return shared_fleet


class Batch:
    """A batch under way, and what the coordinator logs meanwhile."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._log_before = len(fleet.log("coordinator"))
        with Client(fleet.address) as client:
            job = client.submit([ImageSpec(prompt=f"number {index}") for index in range(IMAGES)], steps=4, seed=1)
        self.job_id = job.name.removeprefix("jobs/")
        self.wait_for_images(IMAGES // 8)

    def wait_for_images(self, count: int) -> None:
        """Waits until so many images are committed."""
        enough = eventually(lambda: len(committed(self._fleet.state, self.job_id)) >= count, PATIENCE)
        assert enough, f"the batch does not go on: {self._fleet.log('coordinator')[-5000:]}"

    def finish(self) -> None:
        """Waits for the end; every image must count once."""
        self.wait_for_images(IMAGES)
        with Client(self._fleet.address) as client:
            assert client.job(f"jobs/{self.job_id}").wait() is JobState.SUCCEEDED
        # A file that was refused late is removed just after that.
        assert eventually(lambda: not defects(self._fleet.state, self.job_id, IMAGES), 5), defects(
            self._fleet.state, self.job_id, IMAGES
        )

    def log(self) -> str:
        """What the coordinator has logged since the batch began."""
        return self._fleet.log("coordinator")[self._log_before :]

    def lost_attempts(self) -> list[str]:
        """The story of each attempt that was lost, as the coordinator's log has it."""
        lines = [line for line in self.log().splitlines() if "attempt.abandoned" in line]
        return [line for line in lines if self.job_id in line]


def test_a_bridge_that_is_killed_costs_nothing(fleet: Fleet) -> None:
    batch = Batch(fleet)
    kill(fleet.part(fleet.workers["one"], r"ray::Bridge"))
    batch.finish()
    assert batch.lost_attempts() == []


def test_a_ray_node_that_is_killed_costs_nothing(fleet: Fleet) -> None:
    batch = Batch(fleet)
    kill(fleet.part(fleet.workers["one"], r"raylet/raylet "))
    batch.finish()
    assert batch.lost_attempts() == []
    assert eventually(lambda: fleet.log("one").count("raylet.up") >= 2, PATIENCE), fleet.log("one")


def test_a_driver_that_is_killed_costs_nothing(fleet: Fleet) -> None:
    batch = Batch(fleet)
    kill(fleet.part(fleet.coordinator, r"ray_driver"))
    batch.finish()
    assert batch.lost_attempts() == []
    assert "driver_lost how='was ended by signal 9 (Killed" in batch.log()


def test_a_head_that_is_killed_costs_nothing_but_time(fleet: Fleet) -> None:
    batch = Batch(fleet)
    kill(fleet.part(fleet.coordinator, r"gcs_server "))
    batch.finish()
    assert batch.lost_attempts() == []
    assert "ray_engine.head_lost" in batch.log()


def test_a_coordinator_that_is_killed_costs_nothing_but_time(fleet: Fleet) -> None:
    batch = Batch(fleet)
    before = committed(fleet.state, batch.job_id)
    fleet.coordinator.kill()
    fleet.coordinator.wait()
    time.sleep(20 * SECONDS_PER_IMAGE)  # workers go on with what they have
    fleet.start_coordinator()
    batch.finish()
    assert before.items() <= committed(fleet.state, batch.job_id).items()
    # What was written down and not yet sent when it died is placed again; nothing else is.
    assert all("came back without it" in line for line in batch.lost_attempts()), batch.log()


def test_a_worker_that_is_killed_loses_its_images_to_others_at_once_and_comes_back(fleet: Fleet) -> None:
    batch = Batch(fleet)
    fleet.workers["one"].kill()
    fleet.workers["one"].wait()
    assert eventually(lambda: fleet.active() == {"two"}, 3), "it was not noticed at once"
    batch.finish()
    assert any("its daemon ended" in line for line in batch.lost_attempts()), batch.log()
    fleet.start_worker("one")
    fleet.wait_until_whole()


def test_a_worker_that_is_stopped_beyond_its_lease_and_woken_delivers_late_and_is_refused(fleet: Fleet) -> None:
    batch = Batch(fleet)
    os.kill(fleet.workers["one"].pid, signal.SIGSTOP)
    time.sleep(BEYOND_A_LEASE)
    assert fleet.active() == {"two"}
    os.kill(fleet.workers["one"].pid, signal.SIGCONT)
    batch.finish()
    assert any("not heard of" in line for line in batch.lost_attempts()), batch.log()
    fleet.wait_until_whole()
    assert eventually(lambda: not list((fleet.state.parent / "one" / "outbox").iterdir())), "the outbox is not empty"


def test_a_worker_that_is_told_to_stop_gives_back_what_it_has_and_leaves(fleet: Fleet) -> None:
    batch = Batch(fleet)
    fleet.workers["one"].terminate()
    assert fleet.workers["one"].wait(20) == 0
    assert fleet.active() == {"two"}
    batch.finish()
    assert any("the worker was stopped" in line for line in batch.lost_attempts()), batch.log()
    fleet.start_worker("one")
