"""What the coordinator's end of Ray does before there is any Ray."""

import asyncio
import logging
import socket
import time
from pathlib import Path

import pytest

from farm.carrier.security import RaySecurity, ray_token
from farm.coordinator.ray_engine import RayEngine, RaySettings
from tests.waiting import PATIENCE


def test_a_port_that_another_program_has_is_told_with_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def starts(address: str) -> None:
        engine = RayEngine(RaySettings(address, RaySecurity(ray_token(tmp_path))))
        await engine.start(lambda _: None)
        deadline = time.monotonic() + PATIENCE
        while "ray_engine.port_taken" not in caplog.text and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        await engine.stop()

    with socket.create_server(("127.0.0.1", 0)) as other, caplog.at_level(logging.INFO):
        asyncio.run(starts(f"127.0.0.1:{other.getsockname()[1]}"))
    assert "another --ray-address" in caplog.text
    assert "ray_engine.head" not in caplog.text
