"""Content digests of files that may be gigabytes: read once, then remembered by path, size and modification time."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

CHUNK_BYTES = 1 << 20


class FileDigests:
    """SHA-256 of files, with a cache on disk.

    A cache that cannot be read is begun anew, and one that cannot be written is done without: both cost only time.

    Args:
        cache: File that keeps what was computed, from one process to the next.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._known = _read_cache(cache)
        self._changed = False

    def of(self, path: Path) -> str:
        """The file's SHA-256 in hexadecimal.

        Raises:
            OSError: The file cannot be read.
        """
        facts = path.stat()
        key, stamp = str(path.resolve()), f"{facts.st_size}:{facts.st_mtime_ns}"
        known_stamp, _, digest = self._known.get(key, "").partition(" ")
        if known_stamp != stamp:
            digest = _sha256(path)
            self._known[key] = f"{stamp} {digest}"
            self._changed = True
        return digest

    def save(self) -> None:
        """Writes what was learned since the last time, so that no other process sees half of it."""
        if not self._changed:
            return
        with suppress(OSError):
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._cache.parent, prefix=self._cache.name)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(self._known, file)
            Path(temporary).replace(self._cache)
            self._changed = False


def _read_cache(cache: Path) -> dict[str, str]:
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(known, Mapping):
        return {}
    return {key: value for key, value in known.items() if isinstance(value, str)}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
