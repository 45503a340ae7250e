"""What is put in the store is a model, stays what it was, and can be taken away again."""

import shutil
import zipfile
from pathlib import Path

import pytest

from farm.catalogue import Catalogue
from farm.catalogue.catalogue import BUNDLED
from farm.catalogue.inventory import read_inventory
from farm.catalogue.store import ModelStore
from farm.domain import AttentionVariant
from farm.errors import InvalidRequestError, ModelNotFoundError, PackageError
from tests.catalogue.folders import copy_of_shapes, package, snapshot_of
from tests.catalogue.published import put_litter, zip_folder


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    root = tmp_path / "store"
    return ModelStore(root, catalogue=Catalogue([BUNDLED, root], tmp_path / "facts.json"))


@pytest.fixture
def arrived(tmp_path: Path) -> Path:
    folder = copy_of_shapes(tmp_path / "downloads", "My Model")
    put_litter(folder)
    return folder


def one_form(folder: Path, attention: str, name: str) -> Path:
    """The model with one of its forms only, as archives on the hub have it."""
    alone = Path(shutil.copytree(folder, folder.parent / name))
    for other in {"original", "split_einsum"} - {attention}:
        shutil.rmtree(alone / other)
    return alone


def test_a_folder_that_is_added_is_found_and_the_original_is_left_alone(store: ModelStore, arrived: Path) -> None:
    told: list[int] = []
    model = store.add(arrived, on_bytes=told.append)

    assert model.name == "my-model"
    assert store.catalogue.get("my-model") == model
    assert arrived.is_dir()
    assert sum(told) > sum(variant.size_bytes for variant in model.variants)
    assert not (store.root / "my-model" / ".DS_Store").exists()
    assert [path.name for path in store.root.iterdir()] == ["my-model"], "nothing is left aside"


def test_the_archives_of_one_repository_make_one_model(store: ModelStore, arrived: Path) -> None:
    first = one_form(arrived, "original", "coreml-shapes_original_compiled")
    second = one_form(arrived, "split_einsum", "coreml-shapes_split_einsum_compiled")

    store.add(zip_folder(first, first.with_suffix(".zip")))
    model = store.add(zip_folder(second, second.with_suffix(".zip")))

    assert model.name == "coreml-shapes"
    assert {variant.attention for variant in model.variants} == {
        AttentionVariant.ORIGINAL,
        AttentionVariant.SPLIT_EINSUM,
    }
    inventory = read_inventory(store.root / "coreml-shapes")
    assert inventory is not None
    assert len(inventory.sources) == 2
    assert store.verify("coreml-shapes").problems == ()


def test_what_is_there_already_is_not_added_twice(store: ModelStore, arrived: Path) -> None:
    store.add(arrived)
    with pytest.raises(PackageError, match="already has everything"):
        store.add(one_form(arrived, "original", "again"), name="my-model")
    assert [path.name for path in store.root.iterdir()] == ["my-model"]


def test_a_linked_model_is_used_where_it_is_and_only_the_link_is_removed(store: ModelStore, arrived: Path) -> None:
    model = store.add(arrived, "linked", link=True)

    assert store.catalogue.get("linked") == model
    with pytest.raises(PackageError, match="only linked here"):
        store.add(one_form(arrived, "original", "more"), "linked")
    assert store.remove("linked") == 0
    assert (arrived / "vocab.json").is_file()
    assert not list(store.root.iterdir())


def test_a_snapshot_in_hugging_faces_cache_is_linked_and_is_the_same_model(
    store: ModelStore, arrived: Path, tmp_path: Path
) -> None:
    linked = store.add(snapshot_of(arrived, tmp_path / "cache"), "linked", link=True)
    copied = store.add(arrived)

    assert [variant.digest for variant in linked.variants] == [variant.digest for variant in copied.variants]
    assert store.remove("linked") == 0


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and then nothing"])
def test_a_damaged_archive_is_refused(store: ModelStore, tmp_path: Path, damage: bytes) -> None:
    archive = tmp_path / "model.zip"
    archive.write_bytes(damage)
    with pytest.raises(PackageError, match="not a readable zip archive"):
        store.add(archive)
    assert not list(store.root.iterdir())


def test_an_archive_cannot_write_outside_of_its_folder(store: ModelStore, tmp_path: Path) -> None:
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("../../../hacked.txt", "x")
        packed.writestr("/hacked.txt", "x")
    with pytest.raises(PackageError, match="no packages in a layout"):
        store.add(archive)
    assert not list(tmp_path.rglob("hacked.txt"))
    assert not Path("/hacked.txt").exists()


def test_a_folder_that_is_no_model_changes_nothing(store: ModelStore, arrived: Path) -> None:
    shutil.rmtree(package(arrived, "unet"))
    with pytest.raises(PackageError, match="has no package for unet"):
        store.add(arrived)
    with pytest.raises(PackageError, match="There is nothing at"):
        store.add(arrived / "elsewhere")
    assert not store.root.exists() or not list(store.root.iterdir())


def test_names_of_bundled_models_are_taken(store: ModelStore, arrived: Path) -> None:
    with pytest.raises(InvalidRequestError, match="comes with the farm"):
        store.add(arrived, "Shapes")
    with pytest.raises(InvalidRequestError, match="comes with the farm"):
        store.remove("shapes")
    with pytest.raises(ModelNotFoundError):
        store.remove("nothing")


def test_verify_names_every_file_that_is_not_what_it_was(store: ModelStore, arrived: Path) -> None:
    store.add(arrived)
    folder = store.root / "my-model"
    assert store.verify("my-model").problems == ()
    weights = package(folder, "unet") / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    (folder / "README.md").unlink()
    (folder / "notes.txt").touch()

    verdict = store.verify("my-model")

    assert verdict.checked > 20
    assert [problem.split()[0] for problem in verdict.problems] == [
        "README.md",
        weights.relative_to(folder).as_posix(),
        "notes.txt",
    ]


def test_a_model_that_was_put_there_by_hand_has_nothing_to_be_compared_with(store: ModelStore) -> None:
    copy_of_shapes(store.root, "by hand")
    assert store.verify("by-hand").checked == 0
    assert store.remove("by-hand") > 0
    assert not list(store.root.iterdir())


def test_a_folder_of_several_models_is_refused_with_their_names(store: ModelStore, tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    one_form(copy_of_shapes(downloads, "whole"), "original", "cats")
    one_form(downloads / "whole", "split_einsum", "dogs_split_einsum")
    shutil.rmtree(downloads / "whole")

    for link in (False, True):
        with pytest.raises(PackageError, match=r"several models: cats, dogs_split_einsum\. Add each by its own path"):
            store.add(downloads, link=link)

    assert not (store.root / "downloads").exists()
    assert store.add(downloads / "cats", "pets").name == "pets"
    assert len(store.add(downloads / "dogs_split_einsum", "pets").variants) == 2


def test_a_folder_of_forms_that_are_each_whole_is_one_model(store: ModelStore, tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    one_form(copy_of_shapes(tmp_path / "other", "whole"), "original", "shapes_original_64x64")
    shutil.move(tmp_path / "other" / "shapes_original_64x64", downloads / "shapes_original_64x64")
    one_form(tmp_path / "other" / "whole", "split_einsum", "shapes_split-einsum_64x64")
    shutil.move(tmp_path / "other" / "shapes_split-einsum_64x64", downloads / "shapes_split-einsum_64x64")

    assert len(store.add(downloads, "shapes-of-both").variants) == 2
