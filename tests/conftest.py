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
    """Renders do not wait for those of another farm on this machine, nor for those of a test that runs beside."""
    with pytest.MonkeyPatch.context() as environment, tempfile.TemporaryDirectory(prefix="farm-locks-") as folder:
        environment.setenv("FARM_LOCKS", folder)
        yield
