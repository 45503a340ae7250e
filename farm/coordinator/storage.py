"""The state folder: the journal with its two threads, the images, and the lock that keeps a second coordinator out."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import filelock

from farm.coordinator.artifacts import ArtifactStore
from farm.coordinator.journal import Journal
from farm.coordinator.journal_reader import JournalReader
from farm.errors import JournalError

P = ParamSpec("P")
T = TypeVar("T")

LATE_SECONDS = 60.0
"""How long before or after the end of its job a file may have been written whose result does not count."""


class Storage:
    """All that a coordinator keeps on disk.

    Args:
        folder: The state folder; made if it is not there, and closed to all but its owner.

    Raises:
        JournalError: Another coordinator uses the folder, it cannot be written, or its journal cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if {path.name for path in folder.iterdir()} <= {"access"}:
                # Prompts and images are nobody else's business, also where the folder came into being with Ray's token.
                # A folder that holds other things keeps its mode: it may be everybody's.
                folder.chmod(0o700)
            self._lock = filelock.FileLock(folder / "lock", thread_local=False)
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            raise JournalError(
                f"Another coordinator uses the state folder {folder}. Two would contradict each other: stop that one, "
                "or give this one a folder of its own with --state.",
                state=str(folder),
            ) from None
        except OSError as error:
            raise JournalError(
                f"The state folder {folder} cannot be used ({error.strerror}). Choose another with --state, or change "
                "its permissions.",
                state=str(folder),
            ) from error
        self.journal = Journal(folder / "journal.sqlite3")
        self.reader = JournalReader(folder / "journal.sqlite3")
        self.artifacts = ArtifactStore(folder / "images")
        self.writer_thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._reader_thread = ThreadPoolExecutor(1, thread_name_prefix="journal-reader")
        self.browser = JournalReader(folder / "journal.sqlite3")
        self._browser_thread = ThreadPoolExecutor(1, thread_name_prefix="journal-browser")

    async def write(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a method of `journal` on the thread that writes."""
        assert not kwargs, "the executor passes positional arguments only"
        return await asyncio.get_running_loop().run_in_executor(self.writer_thread, function, *args)

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a method of `reader` on the thread that reads."""
        assert not kwargs, "the executor passes positional arguments only"
        return await asyncio.get_running_loop().run_in_executor(self._reader_thread, function, *args)

    async def browse(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a method of `browser` on a thread of its own, since what takes long must not hold the farm up."""
        assert not kwargs, "the executor passes positional arguments only"
        return await asyncio.get_running_loop().run_in_executor(self._browser_thread, function, *args)

    def tidy(self) -> None:
        """Removes what a crash has left half-done: submissions that never arrived, files that no commit names."""
        self.journal.unstage_all()
        jobs = self.reader.job_ids()
        self.artifacts.sweep(jobs)
        for job_id in self.reader.live_job_ids():
            self.artifacts.sweep_job(job_id, self.reader.committed(job_id))
        # A job may have ended between the file of a late attempt and its refusal; nobody looks through all that ended.
        for job_id, end_time in self.reader.last_ended(LATE_SECONDS):
            for indices in self.artifacts.touched(job_id, end_time - LATE_SECONDS):
                self.artifacts.sweep_images(job_id, indices, self.reader.committed(job_id, indices))

    def close(self) -> None:
        """Finishes what is being written and lets another coordinator in."""
        self.writer_thread.shutdown()
        self._reader_thread.shutdown()
        self._browser_thread.shutdown()
        self.artifacts.close()
        self.reader.close()
        self.browser.close()
        self.journal.close()
        self._lock.release()
