"""The watch ends its process, so each test gives it one to end."""

import subprocess
import sys

import pytest

from tests.patience import PATIENCE

TEMPLATE = """
import time
from multiprocessing import Pipe
from farm.worker.link import Link
link = Link(Pipe()[0], grace=0.2)
{actions}
print("alive")
"""


def survives(*actions: str) -> bool:
    code = TEMPLATE.format(actions="\n".join(actions))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.stdout == "alive\n"


@pytest.mark.parametrize(
    "actions",
    [
        ["link.promise(0.2)", "time.sleep(60)"],
        ["link.promise(60)", "link.promise(0.2)", "time.sleep(60)"],
        ["link.rest(None)", "link.promise(0.2)", "time.sleep(60)"],
        ["link.promise(0.2)", "link.rest(None)", "link.promise(0.2)", "time.sleep(60)"],
    ],
)
def test_a_broken_promise_ends_the_process(actions: list[str]) -> None:
    assert not survives(*actions)


@pytest.mark.parametrize(
    "actions",
    [
        ["for _ in range(50): link.promise(2); time.sleep(0.05)"],
        ["link.promise(1)", "link.promise(60)", "time.sleep(1.5)"],
        ["link.promise(1)", "link.rest(None)", "time.sleep(1.5)"],
    ],
)
def test_a_promise_that_is_kept_renewed_or_given_back_does_not(actions: list[str]) -> None:
    assert survives(*actions)
