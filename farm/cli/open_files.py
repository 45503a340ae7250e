"""How many files a farm's processes may have open at once."""

import logging
import resource

ENOUGH = 65_536
"""Ray's head has 17 files open for each worker beside 71 of its own (Ray 2.60, measured on Linux)."""

_MACOS_LIMIT = 10_240
"""macOS refuses more than its OPEN_MAX, though it calls the hard limit unlimited (setrlimit(2))."""

_log = logging.getLogger(__name__)


def raise_open_file_limit() -> None:
    """Lets this process and the children that it starts from now on open as many files as the system allows.

    launchd and a terminal on macOS give 256, which Ray's head has used up with ten workers; systemd gives 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (ENOUGH, _MACOS_LIMIT):
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < limit:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            except (OSError, ValueError) as error:
                _log.debug("open_files.refused limit=%d reason=%r", limit, str(error))
            else:
                return
