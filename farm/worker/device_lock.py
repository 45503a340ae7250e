"""One pipeline per device, whatever the number of farms and users on the machine.

The lock is `flock` on a file that every user can open. The operating system releases it when its holder dies in any
way, so a lock is never left behind. The file says who holds it, for people who wait. (`filelock` would do but for that:
it truncates the file on each try, and with it the holder's name.)
"""

import errno
import fcntl
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from farm.installation import NAME

LOCKS_FOLDER = Path("/var/tmp")  # noqa: S108 - one folder for all users is the point; unlike /tmp it outlives restarts
_CONTENT_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a device, as the lock's file says.

    Attributes:
        pid: Process id.
        since: When it took the device.
    """

    pid: int
    since: datetime


class DeviceLock:
    """The right to use a device of this machine; one at a time, of all processes of all users.

    Args:
        device: Name of the device, part of the file's name.
        folder: Where the lock's file is; `FARM_LOCKS` or /var/tmp unless given. Farms that are to respect each other
            must agree on it.
    """

    def __init__(self, device: str, folder: Path | None = None) -> None:
        folder = folder or Path(os.environ.get("FARM_LOCKS", LOCKS_FOLDER))
        self.path = folder / f"{NAME}.{device}.lock"
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Takes the lock if it is free; does not wait. It is held until `release` or the end of the process.

        Raises:
            OSError: The file cannot be opened or written.
        """
        descriptor = _open_for_all(self.path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_still(self.path, descriptor):
                raise BlockingIOError(errno.EAGAIN, "the lock's file was replaced in between", str(self.path))
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {datetime.now(UTC).isoformat(timespec='seconds')}\n".encode(), 0)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def holder(self) -> Holder | None:
        """Who took the lock last; None if the file does not say (its holder may be about to write)."""
        try:
            with self.path.open(encoding="ascii") as file:
                pid, since = file.read(_CONTENT_LIMIT).split()
            return Holder(int(pid), datetime.fromisoformat(since))
        except (OSError, ValueError):
            return None

    def release(self) -> None:
        """Gives the device back; nothing happens if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _open_for_all(path: Path) -> int:
    """Opens the lock's file, and makes it first if need be, so that every user can lock it.

    An existing file is opened without O_CREAT: Linux refuses that flag on other users' files in a sticky folder
    (fs.protected_regular). Links are not followed, since anybody can put one there.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        os.fchmod(descriptor, 0o666)  # the umask took the other users' rights away
        return descriptor


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether `path` is the file behind `descriptor`; a clean-up may have removed it, and others made it anew."""
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False
