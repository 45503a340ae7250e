"""Small disks, and programs that fill them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[bool]:
    """A disk of so many megabytes, at a folder that is made; gives whether one could be mounted there."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    is_mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A disk of so many megabytes, at a folder that is made; skips the test where none can be mounted."""
    with mounted(folder, megabytes) as is_mounted:
        if not is_mounted:
            pytest.skip("only root can mount a small disk, and not in every container")
        yield folder


@contextmanager
def filled(disk: Path, leaving: int = 0) -> Iterator[None]:
    """Takes all of a disk but so many bytes, as another program would."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while shutil.disk_usage(disk).free > leaving:
            file.write(b"x" * 4096)
    try:
        yield
    finally:
        ballast.unlink()
