"""What holds for the whole suite."""

from hypothesis import settings

# The suite tries the same cases each time, so that it fails for what was changed. `make test-slow` explores new ones.
settings.register_profile("suite", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile("suite")
