"""Model folders to break: copies of the bundled one."""

import shutil
from pathlib import Path

from farm.catalogue.catalogue import BUNDLED

SHAPES = BUNDLED / "shapes"


def copy_of_shapes(root: Path, name: str = "shapes") -> Path:
    """A whole copy of the bundled model under another root."""
    return Path(shutil.copytree(SHAPES, root / name))


def package(folder: Path, component: str, attention: str = "original") -> Path:
    """Where a package of the bundled model, or of its copy, lies."""
    return folder / attention / "packages" / f"Stable_Diffusion_version_shapes_{component}.mlpackage"
