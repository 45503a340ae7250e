"""The signals that end a command, and what they do while there is nothing to be stopped in order."""

import os
import signal
from typing import NoReturn

INTERRUPTED = 130
"""Exit code after Ctrl-C, SIGTERM or SIGHUP, as shells have it after the first."""

INTERRUPTED_WORDS = "Interrupted."


def stop_signals() -> list[signal.Signals]:
    """Ctrl-C, SIGTERM, and the end of the terminal, unless `nohup` has it ignored."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]


def leave_at_once(*_: object) -> NoReturn:
    """A handler for before and after a command's own work: in an import an exception could come out as any other."""
    os.write(2, f"{INTERRUPTED_WORDS}\n".encode())
    os._exit(INTERRUPTED)
