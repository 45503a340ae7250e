"""How a process of the farm logs: a dotted name of what happened, then its fields, as in `job.ended job=x`."""

import logging


def log_to_stderr(level: int) -> None:
    """Sends what is logged at `level` and above to standard error."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
