"""What a worker has finished and nobody has taken yet, on disk.

A report has a number and a file of its own; numbers grow, also over restarts, so that an acknowledgement that comes
late can never mean another report. A file begins with the hash of the rest: one that a failing machine left half-made
is dropped, and its image is rendered again. One that cannot be read is tried again later. Nothing is flushed to the
drive: the death of this process loses nothing, and that of the whole machine costs time only.
"""

import hashlib
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from farm.carrier.messages import KeptReport, Told, decode, encode
from farm.domain import AttemptKey
from farm.reports import AttemptReport, ImageReport

LIMIT_BYTES = 4 << 30
"""Some 8,000 images: more than any worker is given while nobody takes them."""

MEMORY_LIMIT_BYTES = 64 << 20
"""What is kept in memory at most when the disk does not take it."""

_HASH_BYTES = hashlib.sha256().digest_size
_log = logging.getLogger(__name__)


class OutboxFullError(Exception):
    """There is no room for another finished image; the message says why."""


@dataclass(frozen=True, slots=True)
class _Entry:
    key: AttemptKey
    is_end: bool
    size: int
    content: bytes | None
    """Only if it is not on disk."""


class Outbox:
    """Keeps reports in order until they are taken. Used on one thread; one process a folder.

    A disk that takes nothing more costs nothing as long as reports are taken soon: they are kept in memory meanwhile.

    Args:
        folder: Where the files are; made if it is not there.
        limit_bytes: How much is kept on disk at most.

    Raises:
        OSError: The folder cannot be made or read.
    """

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._entries: dict[int, _Entry] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in folder.glob("*.part"):
            path.unlink()
        for path in sorted(folder.glob("*.report")):
            self._take_up(path)
        self._last_number = max(self._entries, default=0)

    @property
    def count(self) -> int:
        """How many reports are kept; may be asked on any thread."""
        return len(self._entries)

    def put(self, report: KeptReport) -> int:
        """Keeps a report and gives its number.

        Raises:
            OutboxFullError: It is an image, and there is no room for it. Other reports are always kept.
        """
        # Starting from the time keeps numbers apart from those of a process before this, whose files are gone.
        number = self._last_number = max(self._last_number + 1, time.time_ns())
        content = encode(Told(report, number))
        if isinstance(report, ImageReport) and self._size() + len(content) > self._limit_bytes:
            raise OutboxFullError(f"the outbox holds {self._limit_bytes >> 20} MiB of images that are not delivered")
        kept = None
        try:
            self._write(number, content)
        except OSError as error:
            in_memory = sum(entry.size for entry in self._entries.values() if entry.content is not None)
            if isinstance(report, ImageReport) and in_memory + len(content) > MEMORY_LIMIT_BYTES:
                raise OutboxFullError(f"the outbox cannot be written ({error.strerror})") from error
            _log.warning("outbox.not_written reason=%r kept=memory", error.strerror)
            kept = content
        self._entries[number] = _Entry(report.key, isinstance(report, AttemptReport), len(content), kept)
        return number

    def get(self, number: int) -> bytes | None:
        """The message that tells of a report; None if it was taken, or its file is damaged or gone.

        Raises:
            OSError: Its file cannot be read now, which says nothing of what is in it: the report is kept.
        """
        entry = self._entries.get(number)
        if entry is None or entry.content is not None:
            return entry.content if entry else None
        content = _read(self._path(number))
        if content is None:
            _log.warning("outbox.dropped file=%s", self._path(number).name)
            self.remove(number)
        return content

    def remove(self, number: int) -> AttemptKey | None:
        """Forgets a report that was taken; gives the key of the attempt whose end it was."""
        entry = self._entries.pop(number, None)
        if entry is None:
            return None
        if entry.content is None:
            try:
                self._path(number).unlink(missing_ok=True)
            except OSError as error:  # offered again by the next process, and refused
                _log.warning("outbox.not_removed number=%d reason=%r", number, error.strerror)
        return entry.key if entry.is_end else None

    def numbers(self) -> list[int]:
        """Numbers of all that is kept, in order."""
        return list(self._entries)

    def attempts(self) -> set[AttemptKey]:
        """Attempts of which something is kept."""
        return {entry.key for entry in self._entries.values()}

    def ended(self) -> set[AttemptKey]:
        """Attempts of which the end is kept."""
        return {entry.key for entry in self._entries.values() if entry.is_end}

    def _size(self) -> int:
        return sum(entry.size for entry in self._entries.values())

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:020d}.report"

    def _write(self, number: int, content: bytes) -> None:
        path = self._path(number)
        temporary = path.with_suffix(".part")
        try:
            with temporary.open("wb") as file:
                file.write(hashlib.sha256(content).digest())
                file.write(content)
            temporary.rename(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def _take_up(self, path: Path) -> None:
        try:
            content = _read(path)
        except OSError as error:  # left for the next process
            _log.warning("outbox.not_read file=%s reason=%r", path.name, error.strerror)
            return
        try:
            told = decode(content) if content is not None else None
        except ValueError:  # of another version of the farm
            told = None
        if content is None or not isinstance(told, Told) or told.number is None:
            _log.warning("outbox.dropped file=%s", path.name)
            path.unlink()
            return
        assert isinstance(told.report, KeptReport), "nothing else is put"
        is_end = isinstance(told.report, AttemptReport)
        self._entries[told.number] = _Entry(told.report.key, is_end, len(content), None)


def _read(path: Path) -> bytes | None:
    """What is in a file of the outbox; None if it is not what was written, or is gone.

    Raises:
        OSError: It cannot be read now.
    """
    try:
        file = path.read_bytes()
    except FileNotFoundError:
        return None
    content = file[_HASH_BYTES:]
    return content if hashlib.sha256(content).digest() == file[:_HASH_BYTES] else None
