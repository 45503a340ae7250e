"""The watch ends its process, so each test gives it one to end."""

import subprocess
import sys

import pytest

from tests.waiting import PATIENCE

TEMPLATE = """
import time
from multiprocessing import Pipe
from farm.worker.host_connection import HostConnection
host = HostConnection(Pipe()[0], grace=0.2)
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
        ["host.promise(0.2)", "time.sleep(60)"],
        ["host.promise(60)", "host.promise(0.2)", "time.sleep(60)"],
        ["host.rest(None)", "host.promise(0.2)", "time.sleep(60)"],
        ["host.promise(0.2)", "host.rest(None)", "host.promise(0.2)", "time.sleep(60)"],
    ],
)
def test_a_broken_promise_ends_the_process(actions: list[str]) -> None:
    assert not survives(*actions)


@pytest.mark.parametrize(
    "actions",
    [
        ["for _ in range(50): host.promise(2); time.sleep(0.05)"],
        ["host.promise(1)", "host.promise(60)", "time.sleep(1.5)"],
        ["host.promise(1)", "host.rest(None)", "time.sleep(1.5)"],
    ],
)
def test_a_promise_that_is_kept_renewed_or_given_back_does_not(actions: list[str]) -> None:
    assert survives(*actions)
