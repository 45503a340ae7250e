"""What the coordinator's end of Ray does before there is any Ray."""

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from farm.carrier.security import RaySecurity, ray_token
from farm.coordinator.ray_engine import RayEngine, RaySettings
from tests.waiting import PATIENCE


async def engine_until(address: str, folder: Path, told: Callable[[], bool]) -> None:
    """Runs an engine until something was told, or nobody can be expected to wait for it any longer."""
    engine = RayEngine(RaySettings(address, RaySecurity(ray_token(folder))))
    await engine.start(lambda _: None)
    deadline = time.monotonic() + PATIENCE
    while not told() and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    await engine.stop()


def test_a_port_that_another_program_has_is_told_with_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, caplog.at_level(logging.INFO):
        address = f"127.0.0.1:{other.getsockname()[1]}"
        asyncio.run(engine_until(address, tmp_path, lambda: "ray_engine.port_taken" in caplog.text))
    assert "another --ray-address" in caplog.text
    assert "ray_engine.head" not in caplog.text


def test_a_head_that_cannot_be_started_is_told_with_what_to_do_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with caplog.at_level(logging.INFO):
        asyncio.run(engine_until(address, tmp_path, lambda: caplog.text.count("ray_engine.head_not_started") >= 2))
    assert caplog.text.count("ray_engine.head_not_started") >= 2
    assert "out of processes, files or memory" in caplog.text
