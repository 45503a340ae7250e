"""How this machine's commands find the token of a farm that runs here, whichever state folder it has.

While it listens, a farm has an entry in a private folder of its user's, a file named by where it can be called on this
machine, which tells where its keys are. Only who may read those can use them.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import msgspec

from farm.access.files import private_folder, read_private, write_private
from farm.access.hosts import is_loopback, is_wildcard
from farm.errors import AccessFilesError
from farm.installation import data_folder

log = logging.getLogger(__name__)

_SOCKET = "unix:"


@dataclass(frozen=True, slots=True)
class LocalFarm:
    """A farm that listens on this machine.

    Attributes:
        pid: Its process.
        folder: Where its CA certificate and its local token are.
        is_tls: Whether it speaks TLS.
    """

    pid: int
    folder: str
    is_tls: bool


@contextlib.contextmanager
def register_local_farm(address: str, folder: Path, *, is_tls: bool) -> Iterator[None]:
    """Keeps an entry for a farm until the context ends. Where it cannot, commands on this machine need FARM_TOKEN.

    Args:
        address: Where the farm listens.
        folder: Where its CA certificate and its local token are.
        is_tls: Whether it speaks TLS.
    """
    path = _path(address)
    farm = LocalFarm(os.getpid(), str(folder), is_tls)
    try:
        private_folder(path.parent)
        _sweep(path.parent)
        write_private(path, msgspec.json.encode(farm))
    except AccessFilesError as error:
        log.warning("access.local_farm_unregistered address=%s error=%s", address, error)
    try:
        yield
    finally:
        if _read(path) == farm:
            path.unlink(missing_ok=True)


def find_local_farm(address: str) -> LocalFarm | None:
    """The farm that is called at `address`; None if none of this user's listens there."""
    return _read(_path(address))


def _read(path: Path) -> LocalFarm | None:
    try:
        content = read_private(path)
        return None if content is None else msgspec.json.decode(content, type=LocalFarm)
    except (AccessFilesError, msgspec.DecodeError):  # without it, calls need a token, and say so
        return None


def _path(address: str) -> Path:
    """Where a farm's entry is.

    For loopback the host is no part of it: a farm that listens on every address is called there, too, under three
    names. One that listens on a single address is called by that one.
    """
    folder = data_folder() / "farms"
    if address.startswith(_SOCKET):
        return folder / quote(str(Path(address.removeprefix(_SOCKET)).absolute()), safe="")
    host, _, port = address.rpartition(":")
    if is_loopback(host) or is_wildcard(host):
        return folder / f"port-{port}"
    return folder / quote(address.lower(), safe="")


def _sweep(folder: Path) -> None:
    """Removes the entries of farms that were killed."""
    import psutil

    for path in folder.iterdir():
        farm = _read(path)
        if farm is not None and not psutil.pid_exists(farm.pid):
            path.unlink(missing_ok=True)
