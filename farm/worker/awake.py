"""Keeps a Mac from sleeping while its worker or coordinator runs, as long as it has mains power."""

import os
import shutil
import subprocess


def stay_awake() -> None:
    """Asks macOS not to sleep until this process ends; does nothing elsewhere.

    `caffeinate -s` holds on mains power only: a MacBook on its battery goes to sleep as it would without the farm.
    """
    if caffeinate := shutil.which("caffeinate"):
        subprocess.Popen([caffeinate, "-s", "-w", str(os.getpid())], stdin=subprocess.DEVNULL)
