"""What must be the same on a worker and its coordinator, and how to make it so."""

import platform
from dataclasses import dataclass
from importlib import metadata

from farm.errors import VersionMismatchError


@dataclass(frozen=True, slots=True)
class Versions:
    """What a machine runs.

    Attributes:
        farm: Version of the farm.
        ray: Version of Ray.
        python: Version of Python; its major and minor number count.
    """

    farm: str
    ray: str
    python: str


def own_versions() -> Versions:
    """What this process runs. Nothing is imported for it."""
    return Versions(metadata.version("mac-render-farm"), metadata.version("ray"), platform.python_version())


def check_versions(worker: Versions, coordinator: Versions) -> None:
    """Makes sure that a worker and its coordinator can talk through Ray, which wants equal versions on both sides.

    Raises:
        VersionMismatchError: They differ; says in what, and what to do on the worker.
    """
    wanted_python, python = _minor(coordinator.python), _minor(worker.python)
    new_python = f"install Python {wanted_python}, then `make clean` and `make demo PYTHON=python{wanted_python}`"
    fixes = [
        (coordinator.farm, worker.farm, "the farm", f"check out version {coordinator.farm} and run `make demo`"),
        (coordinator.ray, worker.ray, "Ray", f'`.venv/bin/pip install "ray=={coordinator.ray}"`'),
        (wanted_python, python, "Python", new_python),
    ]
    wrong = [(wanted, has, what, fix) for wanted, has, what, fix in fixes if wanted != has]
    if wrong:
        differences = "; ".join(
            f"{what} is {has or 'not known'} there and {wanted} on the coordinator" for wanted, has, what, _ in wrong
        )
        steps = "; ".join(fix for *_, fix in wrong)
        raise VersionMismatchError(
            f"This machine cannot be a worker: {differences}. In its folder of the farm, {steps}; then try again.",
            **{what.removeprefix("the ").lower(): wanted for wanted, _, what, _ in wrong},
        )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
