"""Real `farm` processes for tests."""

import os
import subprocess
import sys
from pathlib import Path


def start_farm(*arguments: object, cwd: Path | None = None) -> subprocess.Popen[str]:
    """Starts `farm` with these arguments, in a session of its own, so that signals can be sent to it alone."""
    return subprocess.Popen(
        [sys.executable, "-m", "farm", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def processes_that_name(text: str) -> list[str]:
    """Command lines of running processes that hold `text`."""
    listed = subprocess.check_output(["ps", "-A", "-ww", "-o", "pid=,args="], text=True)
    return [line for line in listed.splitlines() if text in line and "ps -A" not in line]
