"""Where an `.mlpackage` keeps its files, by its manifest. It comes from wherever the model was downloaded."""

import json
from dataclasses import dataclass
from pathlib import Path

from farm.errors import PackageError


@dataclass(frozen=True, slots=True)
class PackageManifest:
    """What a package's `Manifest.json` names; whether it is there is another question.

    Attributes:
        model: File of the model's specification.
        items: All that belongs to the package, files and folders, the model among them.
    """

    model: Path
    items: tuple[Path, ...]


def read_package_manifest(package: Path) -> PackageManifest:
    """Reads the manifest of a package.

    Raises:
        PackageError: It is missing or broken, names no model, or a path that leads out of the package.
    """
    try:
        content = json.loads((package / "Manifest.json").read_text(encoding="utf-8"))
        items = {key: inside(package / "Data", item["path"]) for key, item in content["itemInfoEntries"].items()}
        return PackageManifest(items[content["rootModelIdentifier"]], tuple(items.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise unreadable(package, f"Manifest.json does not name a model ({type(error).__name__}: {error})") from error


def inside(folder: Path, name: str) -> Path:
    """A path below a folder; in Hugging Face's cache it may be a link to a file that the cache keeps for it.

    Raises:
        ValueError: It leads out of the folder.
        RuntimeError: It is a loop of links.
    """
    found = folder / name
    if not (found.resolve().is_relative_to(folder.resolve()) or _is_cached(folder.resolve(), found)):
        raise ValueError(f"{name} leads out of the package")
    return found


def _is_cached(folder: Path, found: Path) -> bool:
    """Whether a path in a folder of `models--OWNER--NAME/snapshots` is a link into `models--OWNER--NAME/blobs`."""
    repositories = [
        snapshots.parent
        for snapshots in folder.parents
        if snapshots.name == "snapshots" and snapshots.parent.name.startswith("models--")
    ]
    return found.parent.resolve().is_relative_to(folder) and any(
        found.resolve().is_relative_to(repository / "blobs") for repository in repositories
    )


def unreadable(package: Path, reason: str) -> PackageError:
    """The error for a package that is damaged."""
    return PackageError(
        f"{package} is not a usable model package: {reason}. It is damaged or incomplete; fetch or convert it again.",
        path=str(package),
    )
