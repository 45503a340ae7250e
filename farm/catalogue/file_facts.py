"""What was found out about files that may be gigabytes: looked at once, remembered by path, size and time of change."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

CHUNK_BYTES = 1 << 20

_STAMP = "stamp"


class FileFacts:
    """Facts about files, with a cache on disk.

    A cache that cannot be read is begun anew, and one that cannot be written is done without: both cost only time.

    Args:
        cache: File that keeps what was found, from one process to the next.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._known = _read_cache(cache)
        self._changed = False

    def digest(self, path: Path) -> str:
        """The file's SHA-256 in hexadecimal.

        Raises:
            OSError: The file cannot be read.
        """
        return self.recall(path, "sha256", sha256)

    def recall(self, path: Path, fact: str, find: Callable[[Path], str]) -> str:
        """A fact about a file: as it was found before, or found now.

        Args:
            path: The file.
            fact: Name of the fact, for the cache.
            find: Finds it out.

        Raises:
            OSError: The file cannot be read.
        """
        facts = path.stat()
        key, stamp = str(path.resolve()), f"{facts.st_size}:{facts.st_mtime_ns}"
        known = self._known.get(key, {})
        if known.get(_STAMP) != stamp:
            known = self._known[key] = {_STAMP: stamp}
        if fact not in known:
            known[fact] = find(path)
            self._changed = True
        return known[fact]

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


def sha256(path: Path) -> str:
    """A file's SHA-256 in hexadecimal.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _read_cache(cache: Path) -> dict[str, dict[str, str]]:
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(known, Mapping):
        return {}
    return {key: facts for key, facts in known.items() if _are_facts(facts)}


def _are_facts(facts: object) -> bool:
    return isinstance(facts, dict) and all(isinstance(value, str) for value in facts.values())
