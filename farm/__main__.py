"""The `farm` command, also as `python -m farm`: sees to signals before the first import that takes time."""

import signal
from typing import NoReturn

from farm.cli.signals import leave_at_once, stop_signals


def main() -> NoReturn:
    """Runs the command line and exits."""
    for signal_number in stop_signals():
        signal.signal(signal_number, leave_at_once)
    from farm.cli.main import main as run

    try:
        run()
    finally:
        for signal_number in stop_signals():
            signal.signal(signal_number, leave_at_once)  # what is left to do now is the interpreter's


if __name__ == "__main__":
    main()
