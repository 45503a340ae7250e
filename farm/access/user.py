"""Who runs this process, as far as the operating system says."""

import getpass
import os


def user_name() -> str:
    """This process's user by name; by number where the number has no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the one until Python 3.12, the other since
        return f"user {os.getuid()}"
