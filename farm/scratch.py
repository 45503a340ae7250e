"""Temporary folders that do not outlive their process for long, however it ends."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHORT = Path("/tmp")  # noqa: S108 - paths of sockets must be short (104 bytes on macOS), and the user's own folder there is not
"""Where folders with sockets in them go."""


@contextmanager
def scratch_folder(kind: str, parent: Path | None = None) -> Iterator[Path]:
    """A folder for this process alone, removed at the end; those of dead processes of its kind are removed first.

    Args:
        kind: Begins its name, for example "farm-demo".
        parent: Where it is made; the user's folder for temporary files if nothing is said.
    """
    parent = parent or Path(tempfile.gettempdir())
    sweep(kind, parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{kind}-{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(kind: str, parent: Path) -> None:
    """Removes what killed processes left: folders are named after the process that made them."""
    for folder in parent.glob(f"{kind}-*"):
        pid = folder.name.removeprefix(f"{kind}-").partition("-")[0]
        if pid.isdecimal() and not _runs(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)  # another user's stays


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
