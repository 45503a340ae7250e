"""What must be the same on a worker and its coordinator, and how to make it so."""

import hashlib
import platform
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import farm
from farm import installation
from farm.errors import VersionMismatchError

_SHORT = 12
"""Characters of a digest that are told."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What a machine runs.

    Attributes:
        farm: Version of the farm.
        ray: Version of Ray.
        python: Version of Python; its major and minor number count.
        source: Digest of the farm's source files: two checkouts may have one version and not be the same.
    """

    farm: str
    ray: str
    python: str
    source: str


def own_versions() -> Versions:
    """What this process runs. Nothing is imported for it."""
    return Versions(
        installation.version(),
        metadata.version("ray"),
        platform.python_version(),
        source_digest(Path(farm.__file__).parent),
    )


@cache
def source_digest(package: Path) -> str:
    """SHA-256, in hexadecimal, of every Python file of a package and its name in it; as it was when first asked for."""
    whole = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        whole.update(
            f"{path.relative_to(package).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
        )
    return whole.hexdigest()


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
    if worker.farm == coordinator.farm:
        fix = "check out the commit that the coordinator runs and run `make demo`, or the coordinator this one's"
        fixes.append((coordinator.source[:_SHORT], worker.source[:_SHORT], "the farm's source", fix))
    wrong = [(wanted, has, what, fix) for wanted, has, what, fix in fixes if wanted != has]
    if wrong:
        differences = "; ".join(
            f"{what} is {has or 'not known'} there and {wanted} on the coordinator" for wanted, has, what, _ in wrong
        )
        steps = "; ".join(fix for *_, fix in wrong)
        raise VersionMismatchError(
            f"This machine cannot be a worker: {differences}. In its folder of the farm, {steps}; then try again.",
            **{what.rpartition(" ")[2].lower(): wanted for wanted, _, what, _ in wrong},
        )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
