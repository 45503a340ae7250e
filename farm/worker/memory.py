"""How much memory this process has in use, and had at most.

On macOS that is the physical footprint, which is what the system counts against a process (the Neural Engine's and the
GPU's memory included); on Linux it is the resident set.
"""

import ctypes
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_RUSAGE_INFO_V4 = 4
_RUSAGE_WORDS = 35
_FOOTPRINT, _LIFETIME_FOOTPRINT = 7, 28
"""Places of ri_phys_footprint and ri_lifetime_max_phys_footprint among the words of rusage_info_v4 that follow its
uuid (macOS SDK, sys/resource.h)."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes in use now, and at most since the process began; 0 for both if the system does not say."""

    now: int
    most: int


def read_status(text: str) -> Usage:
    """Reads /proc/self/status of Linux."""
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+([0-9]{1,15}) kB", text, re.MULTILINE))
    now, most = (int(found.get(name, 0)) * 1024 for name in ("VmRSS", "VmHWM"))
    return Usage(now, most)


def usage() -> Usage:
    """What this process uses."""
    return _mac_usage() if sys.platform == "darwin" else _linux_usage()


def _linux_usage() -> Usage:
    try:
        return read_status(Path("/proc/self/status").read_text())
    except OSError:
        return Usage(0, 0)


def _mac_usage() -> Usage:
    words = (ctypes.c_uint64 * (2 + _RUSAGE_WORDS))()
    library = ctypes.CDLL(None)
    if library.proc_pid_rusage(library.getpid(), _RUSAGE_INFO_V4, ctypes.byref(words)) != 0:
        return Usage(0, 0)
    figures = words[2:]
    return Usage(figures[_FOOTPRINT], figures[_LIFETIME_FOOTPRINT])


class Gauge:
    """The most memory in use since a moment.

    The system tells the most since the process began. If that has grown since the moment it is the answer; if not, it
    was something else's, and the most that was looked at stands in for it.

    Args:
        ask: Says what is in use.
    """

    def __init__(self, ask: Callable[[], Usage] = usage) -> None:
        self._ask = ask
        self.restart()

    def restart(self) -> None:
        """The moment is now."""
        before = self._ask()
        self._before, self._seen = before.most, before.now

    def look(self) -> int:
        """Most bytes in use since the moment, as far as is known; more is known the more often one looks."""
        used = self._ask()
        self._seen = max(self._seen, used.now)
        return used.most if used.most > self._before else self._seen
