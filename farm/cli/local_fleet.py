"""Worker daemons on this machine as processes of their own, for trying out a fleet (`farm up --workers N`)."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_STOP_SECONDS = 20.0


def free_ray_address() -> str:
    """An address on loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


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
