import logging
import queue
import socket
from itertools import chain, repeat
from pathlib import Path

import pytest

from farm.carrier.security import RaySecurity, ray_token
from farm.cli.local_fleet import free_ray_address
from farm.errors import UnreachableError
from farm.worker.null_renderer import NullRenderer
from farm.worker.raylet import Raylet, reach
from farm.worker.service import WorkerSettings, run_worker
from tests.waiting import until


def test_a_head_that_listens_can_be_reached_and_one_that_ended_says_no() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert reach(address) is True
    assert reach(address) is False


def test_a_head_that_cannot_be_found_says_nothing() -> None:
    assert reach("no-such-host.invalid:7434") is None


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_SECONDS", "HEADLESS_SECONDS", "SEEK_SECONDS"):
        monkeypatch.setattr(f"farm.worker.raylet.{name}", 0.02)


@pytest.mark.usefixtures("_impatient")
def test_a_worker_without_a_head_says_so_and_asks_again_and_again_where_it_is(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[None] = []
    raylet = Raylet(free_ray_address(), {}, has_bridge=lambda: False, seek=lambda: asked.append(None))
    raylet.start()
    try:
        until(lambda: len(asked) >= 2, "it asked no second time")
    finally:
        raylet.stop()
    assert "see that the coordinator runs" in caplog.text


@pytest.mark.usefixtures("_impatient")
def test_a_worker_whose_head_has_moved_ends_so_that_it_is_started_anew(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    folder: Path = tmp_path_factory.mktemp("w")
    caplog.set_level(logging.INFO)
    old, answers = free_ray_address(), chain(("",), repeat("127.0.0.1:9"))
    settings = WorkerSettings("w", folder, old, RaySecurity(ray_token(folder)), find_ray=lambda: next(answers))
    with pytest.raises(UnreachableError, match=f"moved from {old} to 127.0.0.1:9"):
        run_worker(settings, NullRenderer(), queue.SimpleQueue())
    assert "daemon.stopped" in caplog.text
