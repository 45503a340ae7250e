"""Where image files land: written whole or not at all, under a name that no other attempt uses.

A file is written beside its final name, flushed, renamed, and its folder flushed, before the journal hears of it. The
name holds the attempt's number, so a late attempt can never overwrite the file that was committed.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from farm.coordinator.reserve import reserve_bytes

FILES_PER_FOLDER = 1000
"""A folder with a million files is slow to list everywhere."""

WRITERS = 4
"""Files that are flushed at the same time: the disk, not the processor, is what is waited for."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An image file that is safely on disk: SHA-256 in hex, and bytes."""

    sha256: str
    size_bytes: int


class ArtifactStore:
    """The image files of a farm.

    Args:
        root: Folder that holds a folder a job; made if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)
        self._pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="artifacts")

    def path(self, job_id: str, index: int, attempt_number: int) -> Path:
        """Where an attempt's file of an image is, or would be."""
        return self._root / job_id / f"{index // FILES_PER_FOLDER:05d}" / f"{index:08d}-{attempt_number}.png"

    def store(self, files: Sequence[tuple[Path, bytes]]) -> list[Stored | OSError]:
        """Writes files so that they survive a crash; several at a time, as each waits for the disk.

        Args:
            files: Path, as `path` gave it, and contents of each.

        Returns:
            In the same order, what was stored, or why it could not be.
        """
        folders = {path.parent for path, _ in files}
        unmade = _failures(_make_folder, folders)
        outcomes = list(self._pool.map(self._write, files))
        failures = _failures(_flush_folder, folders - unmade.keys()) | unmade
        return [failures.get(path.parent, outcome) for (path, _), outcome in zip(files, outcomes, strict=True)]

    def _write(self, file: tuple[Path, bytes]) -> Stored | OSError:
        try:
            if self.room()[0] < reserve_bytes(self._root):
                return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            return error
        return _write(*file)

    def remove(self, path: Path) -> None:
        """Removes a file whose result does not count."""
        path.unlink(missing_ok=True)

    def remove_job(self, job_id: str) -> None:
        """Removes every file of a job."""
        shutil.rmtree(self._root / job_id, ignore_errors=True)

    def sweep(self, jobs: Collection[str]) -> None:
        """Removes the folders of jobs that are not among `jobs`: they were deleted, or never accepted."""
        for folder in self._root.iterdir():
            if folder.name not in jobs:
                shutil.rmtree(folder, ignore_errors=True)

    def sweep_job(self, job_id: str, committed: Mapping[int, tuple[int, str]]) -> None:
        """Removes a job's files that no commit names: a crash came between the file and the journal.

        Args:
            job_id: The job.
            committed: Attempt number and SHA-256 of each committed image, by index.
        """
        self._sweep_files(self._files(job_id), job_id, committed)

    def touched(self, job_id: str, since: float) -> list[range]:
        """Indices whose files share a folder that something was written to or removed from since then.

        Args:
            job_id: The job.
            since: Seconds since the epoch.
        """
        folders = [folder for folder in (self._root / job_id).glob("*") if folder.stat().st_mtime >= since]
        firsts = sorted(int(folder.name) * FILES_PER_FOLDER for folder in folders)
        return [range(first, first + FILES_PER_FOLDER) for first in firsts]

    def sweep_images(self, job_id: str, indices: range, committed: Mapping[int, tuple[int, str]]) -> None:
        """As `sweep_job`, for what `touched` named."""
        folder = self.path(job_id, indices.start, 1).parent
        self._sweep_files(folder.iterdir(), job_id, committed)

    def _sweep_files(self, files: Iterable[Path], job_id: str, committed: Mapping[int, tuple[int, str]]) -> None:
        kept = {self.path(job_id, index, number) for index, (number, _) in committed.items()}
        for path in files:
            if path not in kept:
                path.unlink(missing_ok=True)

    def damaged(self, job_id: str, committed: Mapping[int, tuple[int, str]]) -> set[int]:
        """Committed images whose files are gone or are not what was committed; reads them all.

        Args:
            job_id: The job.
            committed: Attempt number and SHA-256 of each committed image, by index.
        """
        files = ((index, self.path(job_id, index, number), sha256) for index, (number, sha256) in committed.items())
        return {index for index, path, sha256 in files if _sha256(path) != sha256}

    def _files(self, job_id: str) -> Iterator[Path]:
        for folder in (self._root / job_id).glob("*"):
            yield from folder.iterdir()

    def room(self) -> tuple[int, int]:
        """Bytes that are free on the disk, and bytes that it has in all."""
        usage = shutil.disk_usage(self._root)
        return usage.free, usage.total

    def close(self) -> None:
        """Waits for what is being written."""
        self._pool.shutdown()


def _write(path: Path, content: bytes) -> Stored | OSError:
    temporary = path.with_suffix(".part")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            _flush(stream.fileno())
        temporary.rename(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        return error
    return Stored(hashlib.sha256(content).hexdigest(), len(content))


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def _failures(action: Callable[[Path], None], folders: Iterable[Path]) -> dict[Path, OSError]:
    """Does something to each folder; where it did not work, and why."""
    failures = {}
    for folder in folders:
        try:
            action(folder)
        except OSError as error:
            failures[folder] = error
    return failures


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    _flush_folder(folder.parent)
    _flush_folder(folder.parent.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush(descriptor: int) -> None:
    # On macOS fsync leaves the data in the drive's own cache; only this asks the drive to write it.
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)
