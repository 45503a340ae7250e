"""Model folders to break: copies of the bundled one."""

import hashlib
import os
import shutil
from pathlib import Path

from farm.catalogue.catalogue import BUNDLED

SHAPES = BUNDLED / "shapes"


def copy_of_shapes(root: Path, name: str = "shapes") -> Path:
    """A whole copy of the bundled model under another root."""
    return Path(shutil.copytree(SHAPES, root / name))


def snapshot_of(folder: Path, cache: Path, repository: str = "someone/shapes") -> Path:
    """The folder as Hugging Face's tools keep what they have fetched: every file a link into `blobs`."""
    kept = cache / f"models--{repository.replace('/', '--')}"
    snapshot = kept / "snapshots" / hashlib.sha1(folder.name.encode()).hexdigest()
    (kept / "blobs").mkdir(parents=True)
    for file in (path for path in folder.rglob("*") if path.is_file()):
        blob = kept / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copyfile(file, blob)
        link = snapshot / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def package(folder: Path, component: str, attention: str = "original") -> Path:
    """Where a package of the bundled model, or of its copy, lies."""
    return folder / attention / "packages" / f"Stable_Diffusion_version_shapes_{component}.mlpackage"
