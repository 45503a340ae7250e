"""A small disk for a test to fill up."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

BLOCK = b"\0" * 65536


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "8m") -> Iterator[bool]:
    """Mounts a file system of that size on a folder, which is made; gives whether that was permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        is_mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        is_mounted = False
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leaves no room on the disk of a folder until the block ends."""
    ballast = folder / "ballast"
    try:
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(BLOCK):
                pass
        yield
    finally:
        ballast.unlink()
