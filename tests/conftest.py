"""What holds for the whole suite."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Read when torch is imported. Its networks are small here, and the threads that it would share them among spin while
# they wait for each other, which takes the processor from the tests beside.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The suite tries the same cases each time, so that it fails for what was changed. `make test-slow` explores new ones.
# How long a case takes says more of what else the machine does than of the code.
TIMELESS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("suite", TIMELESS, derandomize=True)
settings.register_profile("explore", TIMELESS, derandomize=False)
settings.load_profile("suite")

LONG_FILES = (
    "diffusion/test_architectures.py",
    "ray/test_faults.py",
    "convert/test_convert.py",
    "ray/test_worker_faults.py",
    "diffusion/test_parity.py",
    "ray/test_joining.py",
    "cli/test_worker.py",
    "ray/test_network.py",
    "ray/test_security.py",
)
"""What takes longest. It begins first, lest one process works through it while the others have nothing left to do;
files that compute stand beside files that wait for Ray."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests of `LONG_FILES` before all others."""
    turns = {Path(__file__).parent / name: turn for turn, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: turns.get(item.path, len(turns)))


@pytest.fixture(scope="session", autouse=True)
def device_of_its_own() -> Iterator[None]:
    """Farms do not wait for another one's device on this machine, nor want its ports for page and metrics."""
    with pytest.MonkeyPatch.context() as environment, tempfile.TemporaryDirectory(prefix="farm-locks-") as folder:
        environment.setenv("FARM_LOCKS", folder)
        environment.setenv("FARM_WEB_LISTEN", "127.0.0.1:0")
        environment.setenv("FARM_METRICS_LISTEN", "127.0.0.1:0")
        yield
