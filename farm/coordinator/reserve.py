"""Room on the disk that the journal keeps for itself: given up when there is none left, to write why jobs wait."""

import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

RESERVE_BYTES = 8 << 20
"""Enough to journal the pause of thousands of jobs and the end of all that runs."""

RESERVE_SHARE = 1 / 40
"""On a small disk the reserve is this part of it."""


def reserve_bytes(folder: Path) -> int:
    """What is kept on the disk of that folder. Images leave as much alone, or they would take what is given up."""
    return min(RESERVE_BYTES, int(shutil.disk_usage(folder).total * RESERVE_SHARE))


class Reserve:
    """A file that is there to be removed.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_held = False

    def hold(self) -> None:
        """Takes the room, if there is so much; not done twice."""
        if self.is_held:
            return
        size = reserve_bytes(self._path.parent)
        try:
            # Real bytes: a file with holes takes no room.
            self._path.write_bytes(os.urandom(size))
        except OSError as error:
            self._path.unlink(missing_ok=True)
            log.warning("reserve.not_held bytes=%d reason=%r", size, str(error))
        else:
            self.is_held = True

    def release(self) -> bool:
        """Gives the room up; says whether there was any to give."""
        if not self.is_held:
            return False
        self._path.unlink(missing_ok=True)
        self.is_held = False
        log.warning("reserve.released path=%s", self._path)
        return True
