"""The signals that end a command in order."""

import signal


def stop_signals() -> list[signal.Signals]:
    """Ctrl-C, SIGTERM, and the end of the terminal, unless `nohup` has it ignored."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]
