"""`inventory.json`: what a model folder held when the farm put it there, and where it came from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from farm.errors import PackageError

FILE_NAME = "inventory.json"


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a model folder held.

    Attributes:
        sources: Where its parts came from: paths, or "owner/repository@commit", with the part behind a colon.
        files: SHA-256 of every file by its path, relative and with forward slashes.
    """

    sources: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


def read_inventory(folder: Path) -> Inventory | None:
    """Reads a folder's inventory; None if it has none.

    Raises:
        PackageError: It is damaged.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Inventory(tuple(map(str, content["sources"])), {str(k): str(v) for k, v in content["files"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackageError(
            f"{path} cannot be read ({error}); delete it, and the model counts as put there by hand"
        ) from error


def write_inventory(folder: Path, inventory: Inventory) -> None:
    """Writes a folder's inventory."""
    content = {"sources": list(inventory.sources), "files": dict(sorted(inventory.files.items()))}
    (folder / FILE_NAME).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def files_of(folder: Path) -> list[str]:
    """Every file of a folder but the inventory and hidden ones, relative and with forward slashes."""
    files = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return sorted(
        file.as_posix()
        for file in files
        if file.as_posix() != FILE_NAME and not any(part.startswith(".") for part in file.parts)
    )
