"""Packages with damage: they load, or are refused with the one error that says why; nothing else, and no crash."""

import contextlib
import shutil
from pathlib import Path

import pytest

from farm.catalogue import Catalogue
from farm.domain import ComputeUnit
from farm.errors import PackageError
from farm.runtime.portable import PortableRuntime
from tests.abuse.fuzzing import cases, fuzz
from tests.abuse.mutations import DAMAGE, Mutation, damaged
from tests.catalogue.folders import SHAPES, copy_of_shapes, package

FILES = {
    "program": "Data/com.apple.CoreML/model.mlmodel",
    "weights": "Data/com.apple.CoreML/weights/weight.bin",
    "manifest": "Manifest.json",
}


@pytest.mark.parametrize("file", FILES)
@cases(quick=40, slow=4000)
def test_a_damaged_package_loads_or_is_refused(tmp_path: Path, file: str, count: int) -> None:
    original = package(SHAPES, "text_encoder")
    copy = Path(shutil.copytree(original, tmp_path / original.name))
    content = (original / FILES[file]).read_bytes()
    runtime = PortableRuntime(threads=1)

    def holds(damage: list[Mutation]) -> None:
        (copy / FILES[file]).write_bytes(damaged(content, damage))
        with contextlib.suppress(PackageError):
            runtime.load(copy, ComputeUnit.CPU_ONLY)

    fuzz(count, holds, DAMAGE)


CATALOGUED = {
    "manifest of the model": Path("model.toml"),
    "manifest of a package": package(Path(), "vae_decoder") / FILES["manifest"],
    "program": package(Path(), "unet") / FILES["program"],
}


@pytest.mark.parametrize("file", CATALOGUED)
@cases(quick=40, slow=2000)
def test_a_damaged_model_folder_is_listed_or_named_among_the_problems(tmp_path: Path, file: str, count: int) -> None:
    folder = copy_of_shapes(tmp_path / "models", "mine")
    catalogue = Catalogue([tmp_path / "models"], tmp_path / "digests.json")
    content = (folder / CATALOGUED[file]).read_bytes()

    def holds(damage: list[Mutation]) -> None:
        (folder / CATALOGUED[file]).write_bytes(damaged(content, damage))
        listed, problems = {model.name for model in catalogue.models()}, catalogue.problems()
        assert listed ^ set(problems) == {"mine"}

    fuzz(count, holds, DAMAGE)
