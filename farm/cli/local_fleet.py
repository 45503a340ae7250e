"""Worker daemons on this machine as processes of their own, for trying out a fleet (`farm up --workers N`)."""

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_STOP_SECONDS = 20.0


_PORTS = range(20_000, 32_768)
"""Ports that neither Linux nor macOS gives to outgoing connections, nor Ray to its parts: what is free stays free."""


def free_ray_address() -> str:
    """An address on loopback that nothing listens on now."""
    while True:
        address = ("127.0.0.1", secrets.choice(_PORTS))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(address)
            return f"127.0.0.1:{address[1]}"


@contextmanager
def local_workers(count: int, state: Path, ray_address: str, *, null_renderer: bool) -> Iterator[None]:
    """Runs so many `farm worker run`, each with a folder and a log of its own, until the context ends."""
    with ExitStack() as running:
        for number in range(1, count + 1):
            running.enter_context(_worker(f"local-{number}", state, ray_address, null_renderer))
        yield


@contextmanager
def _worker(name: str, state: Path, ray_address: str, null_renderer: bool) -> Iterator[None]:
    folder = state / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--name", name, "--folder", str(folder / name), "--state", str(state), "--ray-address", ray_address]
    options += ["--stop-with-stdin"]
    options += ["--null-renderer"] if null_renderer else []
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "farm", "worker", "run", *options],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the farm, which then ends its workers in order
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    assert process.stdin is not None
    try:
        yield
    finally:
        process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
