"""What the installed farm is called, which version it is, and where it keeps a user's files."""

from pathlib import Path

NAME = "mac-render-farm"
"""Of the distribution, and of all that the farm leaves on a machine."""


def version() -> str:
    """The farm's version."""
    from importlib import metadata  # slower to import than the rest of the command line; most commands do without

    return metadata.version(NAME)


def data_folder() -> Path:
    """Where this user's data are: models, a farm's state, a worker's folder."""
    import platformdirs

    return platformdirs.user_data_path(NAME)


def cache_folder() -> Path:
    """Where this user's files are that can be deleted at any time, at the price of making them again."""
    import platformdirs

    return platformdirs.user_cache_path(NAME)
