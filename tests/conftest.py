"""What holds for the whole suite."""

import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

# The suite tries the same cases each time, so that it fails for what was changed. `make test-slow` explores new ones.
settings.register_profile("suite", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def device_of_its_own() -> Iterator[None]:
    """Farms do not wait for another one's device on this machine, nor want its ports for page and metrics."""
    with pytest.MonkeyPatch.context() as environment, tempfile.TemporaryDirectory(prefix="farm-locks-") as folder:
        environment.setenv("FARM_LOCKS", folder)
        environment.setenv("FARM_WEB_LISTEN", "127.0.0.1:0")
        environment.setenv("FARM_METRICS_LISTEN", "127.0.0.1:0")
        yield
