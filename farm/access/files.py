"""Files that nobody but their owner may read, written whole or not at all."""

import os
import secrets
from pathlib import Path

from farm.errors import AccessFilesError

_KEY_BYTES = 32


def private_folder(folder: Path) -> None:
    """Makes a folder that only its owner may enter, or makes it so.

    Raises:
        AccessFilesError: It cannot be made, or is another user's.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise unusable(folder, error) from error


def write_private(path: Path, content: bytes) -> None:
    """Writes a file with mode 0600; a crash leaves the old one or the new one, flushed to disk.

    Raises:
        AccessFilesError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise unusable(path, error) from error


def read_private(path: Path) -> bytes | None:
    """What a file holds; None if there is none.

    Raises:
        AccessFilesError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(path, error) from error


def kept_key(path: Path) -> bytes:
    """The secret key that a file holds, made the first time; its folder is its owner's alone from then on.

    Raises:
        AccessFilesError: It cannot be read or written.
    """
    key = read_private(path)
    if key is None:
        key = secrets.token_bytes(_KEY_BYTES)
        private_folder(path.parent)
        write_private(path, key)
    return key


def unusable(path: Path, error: OSError) -> AccessFilesError:
    """Says that a file or folder cannot be used, and what to do."""
    return AccessFilesError(
        f"{path}, which holds keys or tokens of the farm, cannot be used ({error.strerror}). It must be readable and "
        "writable by the user that runs the farm, and by nobody else.",
        path=str(path),
    )
