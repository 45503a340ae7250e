"""The limit of open files, in processes of their own: it cannot be taken back."""

import subprocess
import sys

RAISED = """
import resource, sys
from farm.cli.open_files import raise_open_file_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
raise_open_file_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def raised(soft: int, hard: int) -> tuple[int, ...]:
    command = [sys.executable, "-c", RAISED, str(soft), str(hard)]
    return tuple(map(int, subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()))


def test_a_low_limit_is_raised_as_far_as_the_system_allows() -> None:
    assert raised(256, 2000) == (2000, 2000)


def test_a_limit_that_cannot_be_raised_stays() -> None:
    assert raised(300, 300) == (300, 300)
