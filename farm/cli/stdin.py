"""Standard input as a sign of life of the parent process."""

import os
import threading
from collections.abc import Callable


def when_stdin_ends(act: Callable[[], object]) -> None:
    """Calls `act` once, on another thread, when standard input ends, as it does when the parent process dies."""

    def wait() -> None:
        # Not through sys.stdin, whose lock a thread must not hold when the interpreter ends.
        while os.read(0, 1024):
            pass
        act()

    threading.Thread(target=wait, name="stdin", daemon=True).start()
