"""The live stream: whole at first, then changes, and over when its token is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from farm.access.tokens import Role
from farm.client import Client
from tests.running_farm import RunningFarm, running_farm
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarm]:
    state: Path = tmp_path_factory.mktemp("farm") / "state"
    with running_farm(state, page="127.0.0.1:0", seconds_per_image=0.05) as running:
        yield running


def frames(answer: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind and picture of each event of a stream."""
    kind = ""
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)["picture"]


def test_a_stream_begins_with_the_whole_picture_and_goes_on_with_what_changes(farm: RunningFarm) -> None:
    headers = {"Authorization": f"Bearer {farm.access.tokens.create(Role.ADMIN, 'root')[1]}"}
    with httpx.stream("GET", f"{farm.page}live", headers=headers, timeout=PATIENCE) as answer:
        told = frames(answer)
        kind, whole = next(told)
        assert kind == "picture"
        assert whole["workers"]["local"]["chip"] == "null renderer"
        with Client(farm.address) as client:
            job = str(client.submit(["a red circle", "a blue star"]).name).removeprefix("jobs/")
        for kind, changed in told:
            assert kind == "change"
            if changed.get("jobs", {}).get(job, {}).get("state") == "SUCCEEDED":
                break
    with httpx.stream("GET", f"{farm.page}live", headers=headers, timeout=PATIENCE) as answer:
        kind, whole = next(frames(answer))
        assert whole["jobs"][job]["done"] == 2
        assert {key.partition("/")[0] for key in whole["recent"]} == {job}


def test_where_nothing_happens_that_is_told(farm: RunningFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.web.live.PING_SECONDS", 0.05)
    headers = {"Authorization": f"Bearer {farm.access.tokens.create(Role.ADMIN, 'root')[1]}"}
    with httpx.stream("GET", f"{farm.page}live", headers=headers, timeout=PATIENCE) as answer:
        told = frames(answer)
        next(told)
        assert ("change", {}) in (next(told) for _ in range(20))


def test_a_stream_ends_when_its_token_is_revoked(farm: RunningFarm) -> None:
    token, secret = farm.access.tokens.create(Role.ADMIN, "short")
    with httpx.stream(
        "GET", f"{farm.page}live", headers={"Authorization": f"Bearer {secret}"}, timeout=PATIENCE
    ) as answer:
        told = frames(answer)
        next(told)
        farm.access.tokens.revoke(token.token_id)
        with Client(farm.address) as client:
            job = str(client.submit(["a red circle"]).name).removeprefix("jobs/")
        assert not any(job in changed.get("jobs", {}) for _, changed in told), "it goes on after that"
