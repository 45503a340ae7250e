"""What Prometheus gets of a farm, and who else does."""

import dataclasses
import time
from collections.abc import Iterator

import httpx
import pytest

from farm.access.access import FOLDER
from farm.access.tokens import Role
from farm.coordinator.engine import Joined, Receive
from farm.web.scraping import TOKEN_FILE
from tests.builders import worker_facts
from tests.coordinator.scripted_engine import ScriptedEngine
from tests.expositions import Exposition
from tests.running_farm import RunningFarm, running_farm
from tests.waiting import PATIENCE


class Fleet(ScriptedEngine):
    """Three workers join at once: one on another machine, one on this one, one that serves no metrics."""

    async def start(self, receive: Receive) -> None:
        await super().start(receive)
        for name, address in (("away", "192.0.2.5:7436"), ("here", "127.0.0.1:4000"), ("old", "")):
            facts = dataclasses.replace(worker_facts(), metrics_address=address)
            self.say(Joined(name, facts, frozenset()))


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarm]:
    state = tmp_path_factory.mktemp("farm") / "state"
    with running_farm(state, engine=Fleet(), page="127.0.0.1:0") as running:
        yield running


@pytest.fixture
def web(farm: RunningFarm) -> Iterator[httpx.Client]:
    token = (farm.state / FOLDER / TOKEN_FILE).read_text()
    with httpx.Client(base_url=farm.page, timeout=PATIENCE, headers={"Authorization": f"Bearer {token}"}) as client:
        yield client


def test_prometheus_finds_every_worker_that_joined_and_how_to_reach_it(web: httpx.Client) -> None:
    until = time.monotonic() + PATIENCE
    while len(found := web.get("/sd").json()) < 2:
        assert time.monotonic() < until, found
        time.sleep(0.05)
    assert found == [
        {"targets": ["192.0.2.5:7436"], "labels": {"worker": "away", "__scheme__": "https"}},
        {"targets": ["127.0.0.1:4000"], "labels": {"worker": "here", "__scheme__": "http"}},
    ]


def test_the_scrape_token_shows_the_metrics_and_nothing_else(web: httpx.Client) -> None:
    told = Exposition(web.get("/metrics").text)
    assert told.value("farm_info") == 1
    assert told.value("farm_memory_used_bytes") > 10e6
    assert told.value("farm_authority_expiry_timestamp_seconds") > time.time() + 86400
    assert web.post("/api/JobService/ListJobs", json={}).status_code == 401


@pytest.mark.parametrize("path", ["/metrics", "/sd"])
def test_whoever_may_list_workers_may_look_and_others_may_not(path: str, farm: RunningFarm) -> None:
    with httpx.Client(base_url=farm.page, timeout=PATIENCE) as client:
        assert client.get(path).status_code == 401
        for role, status in ((Role.SUBMIT, 200), (Role.WORKER, 200), (Role.ADMIN, 200), (Role.JOIN, 403)):
            _, secret = farm.access.tokens.create(role, "anna")
            assert client.get(path, headers={"Authorization": f"Bearer {secret}"}).status_code == status


def test_only_the_farms_own_user_can_read_the_file_with_the_scrape_token(farm: RunningFarm) -> None:
    assert (farm.state / FOLDER / TOKEN_FILE).stat().st_mode & 0o777 == 0o600
