"""A process with a pipeline host in it, for tests that kill it.

`python -m tests.worker.farm_of_one SCRIPT [STEP_DEADLINE]` renders an image by the script, prints a line for each
report, and goes on until it is killed.
"""

import sys
import time

from farm.reports import Report
from farm.worker.deadlines import Deadlines
from tests.worker.builders import assignment, scripted_host


def show(report: Report) -> None:
    print(type(report).__name__, getattr(report, "stage", ""), flush=True)


def main() -> None:
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    deadlines = Deadlines(first_step=seconds, step_floor=seconds, grace=0.5)
    with scripted_host(deadlines=deadlines, report=show) as (host, _):
        host.render(assignment(1, sys.argv[1], steps=100))
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            time.sleep(600)


if __name__ == "__main__":
    main()
