"""Real `farm` processes under conditions that a test makes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import PATIENCE


@dataclass(frozen=True, slots=True)
class CoordinatorProcess:
    """A `farm coordinator` that listens at `address` and logs to `log`."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def coordinator(
    state: Path, *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[CoordinatorProcess]:
    """Runs a coordinator, and looks at its end whether it stops in order, unless it was killed.

    Args:
        state: Its state folder; its log and its device's lock are beside it.
        options: Further options.
        environment: Further environment variables.
    """
    log = state.parent / "coordinator.log"
    command = ["coordinator", "--address", "127.0.0.1:0", "--state", str(state), "--stop-with-stdin", "--json"]
    with log.open("ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "farm", *command, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            # A lock of the test's own: another farm on this machine must not hold it up.
            env={**_environment(), "FARM_LOCKS": str(state.parent), **(environment or {})},
        )
    assert process.stdin
    assert process.stdout
    try:
        announced = process.stdout.readline()
        assert announced, log.read_text()
        yield CoordinatorProcess(process, json.loads(announced)["address"], log)
        if process.poll() is None:
            process.stdin.close()
            assert process.wait(PATIENCE) == 0, log.read_text()
            assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()


def farm(*arguments: str, before: Sequence[str] = ()) -> tuple[int, str, str]:
    """Runs `farm` to its end, and gives its exit code, output and errors.

    Args:
        arguments: What stands behind `farm`.
        before: A command that starts it.
    """
    done = subprocess.run(
        [*before, sys.executable, "-m", "farm", *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE,
        env=_environment(),
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
