"""Where a process of the farm logs. A message says what happened by a dotted name, then its fields: `job.ended job=x`."""

import logging


def log_to_stderr(level: int) -> None:
    """Sends what is logged at `level` and above to standard error."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
