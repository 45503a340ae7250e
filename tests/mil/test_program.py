import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.errors import PackageError
from farm.mil.program import read_interface
from farm.mil.translate import translate
from farm.mil.weights import unpack
from farm.runtime.portable import load
from tests.catalogue.folders import snapshot_of
from tests.mil.packages import WEIGHT, linear, program_file, read_program, save_linear, weight_file


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_linear(tmp_path_factory.mktemp("packages") / "linear.mlpackage")


@pytest.fixture
def package(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "linear.mlpackage"))


def test_a_program_says_what_the_model_takes_and_gives(package: Path) -> None:
    program = read_program(package)
    assert [(feature.name, feature.shape, feature.dtype) for feature in program.inputs] == [("x", (4, 5), "float32")]
    assert [feature.name for feature in program.outputs] == ["y"]
    assert program.functions[program.main].opset == "CoreML7"
    assert read_interface(package) == (program.inputs, program.outputs)


def test_weights_are_views_of_the_mapped_file(package: Path) -> None:
    program = read_program(package)
    (weight,) = (
        operation.inputs["val"][0]
        for operation in program.functions["main"].operations
        if operation.type == "const" and operation.outputs[0].type.shape == WEIGHT.shape
    )
    assert not isinstance(weight, str)
    array = weight.array()
    np.testing.assert_array_equal(array, WEIGHT)
    assert not array.flags.owndata
    assert not array.flags.writeable


def test_a_bare_model_file_is_read_too(package: Path) -> None:
    x = np.ones((4, 5), np.float32)
    np.testing.assert_allclose(load(program_file(package)).predict({"x": x})["y"], linear(x), rtol=1e-5)


def remove_everything(package: Path) -> None:
    shutil.rmtree(package)


def remove_manifest(package: Path) -> None:
    (package / "Manifest.json").unlink()


def fill_manifest_with_words(package: Path) -> None:
    (package / "Manifest.json").write_text("a render farm")


def name_no_model_in_manifest(package: Path) -> None:
    manifest = json.loads((package / "Manifest.json").read_text())
    (package / "Manifest.json").write_text(json.dumps(manifest | {"rootModelIdentifier": "none"}))


def lead_manifest_out_of_the_package(package: Path) -> None:
    manifest = json.loads((package / "Manifest.json").read_text())
    for item in manifest["itemInfoEntries"].values():
        item["path"] = "../../../secret"
    (package / "Manifest.json").write_text(json.dumps(manifest))


def link_program_to_itself(package: Path) -> None:
    program_file(package).unlink()
    program_file(package).symlink_to(program_file(package))


def remove_program(package: Path) -> None:
    program_file(package).unlink()


def empty_program(package: Path) -> None:
    program_file(package).write_bytes(b"")


def truncate_program(package: Path) -> None:
    program_file(package).write_bytes(program_file(package).read_bytes()[:-40])


def fill_program_with_noise(package: Path) -> None:
    program_file(package).write_bytes(np.random.default_rng(0).bytes(2000))


def remove_weights(package: Path) -> None:
    weight_file(package).unlink()


def empty_weights(package: Path) -> None:
    weight_file(package).write_bytes(b"")


def truncate_weights(package: Path) -> None:
    weight_file(package).write_bytes(weight_file(package).read_bytes()[:-40])


def cut_weights_before_their_metadata(package: Path) -> None:
    weight_file(package).write_bytes(weight_file(package).read_bytes()[:80])


def fill_weights_with_noise(package: Path) -> None:
    weight_file(package).write_bytes(np.random.default_rng(0).bytes(2000))


def take_weights_of_another_shape(package: Path) -> None:
    larger = np.zeros((7, 9), np.float32)
    shutil.copy(weight_file(save_linear(package.parent / "other.mlpackage", weight=larger)), weight_file(package))


def take_weights_of_another_precision(package: Path) -> None:
    shutil.copy(weight_file(save_linear(package.parent / "other.mlpackage", fp16=True)), weight_file(package))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove_everything, "There is no model package"),
        (remove_manifest, "Manifest.json does not name a model"),
        (fill_manifest_with_words, "Manifest.json does not name a model"),
        (name_no_model_in_manifest, "Manifest.json does not name a model"),
        (lead_manifest_out_of_the_package, "leads out of the package"),
        (link_program_to_itself, "not a usable model package"),
        (remove_program, "cannot be read"),
        (empty_program, "holds no model"),
        (truncate_program, "not a Core ML specification"),
        (fill_program_with_noise, "not a Core ML specification"),
        (remove_weights, "weight.bin do not fit their program: it cannot be read"),
        (empty_weights, "it cannot be read"),
        (truncate_weights, "the file ends at"),
        (cut_weights_before_their_metadata, "but the file ends at 80"),
        (fill_weights_with_noise, "does not start with the header"),
        (take_weights_of_another_shape, "but the file holds 252 bytes there"),
        (take_weights_of_another_precision, "but the file holds fp16 there"),
    ],
)
def test_a_damaged_package_is_refused_with_a_reason(package: Path, damage: Callable[[Path], None], words: str) -> None:
    damage(package)
    with pytest.raises(PackageError, match=words):
        load(package)


def test_a_package_in_hugging_faces_cache_is_read_through_its_links(package: Path, tmp_path: Path) -> None:
    x = np.ones((4, 5), np.float32)
    snapshot = snapshot_of(package.parent, tmp_path / "cache")
    np.testing.assert_allclose(load(snapshot / package.name).predict({"x": x})["y"], linear(x), rtol=1e-5)


@pytest.mark.parametrize("way_out", ["../../../../secret", "../../../../../../models--other/blobs/secret", "/secret"])
def test_a_link_of_that_cache_that_leads_anywhere_else_is_refused(package: Path, tmp_path: Path, way_out: str) -> None:
    linked = snapshot_of(package.parent, tmp_path / "cache") / package.name
    program_file(linked).unlink()
    program_file(linked).symlink_to(way_out)
    with pytest.raises(PackageError, match="leads out of the package"):
        load(linked)


def test_a_manifest_in_that_cache_names_only_what_is_in_its_package(package: Path, tmp_path: Path) -> None:
    linked = snapshot_of(package.parent, tmp_path / "cache") / package.name
    blob = program_file(linked).resolve()
    for path in (os.path.relpath(blob, linked / "Data"), str(blob), "../../../../../../../etc/passwd"):
        content = json.loads((package / "Manifest.json").read_text())
        for item in content["itemInfoEntries"].values():
            item["path"] = path
        (linked / "Manifest.json").unlink()
        (linked / "Manifest.json").write_text(json.dumps(content))
        with pytest.raises(PackageError, match="leads out of the package"):
            load(linked)


def test_a_compiled_model_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "unet.mlmodelc").mkdir()
    with pytest.raises(PackageError, match=r"Get the \.mlpackage that it was made from"):
        load(tmp_path / "unet.mlmodelc")


def test_a_model_that_is_no_ml_program_is_refused_with_advice(tmp_path: Path) -> None:
    from coremltools.proto import Model_pb2

    model = Model_pb2.Model(specificationVersion=1)
    model.neuralNetwork.layers.add(name="old")
    (tmp_path / "old.mlmodel").write_bytes(model.SerializeToString())
    with pytest.raises(PackageError, match="convert_to='mlprogram'"):
        load(tmp_path / "old.mlmodel")


@settings(max_examples=150)
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_program_with_changed_bytes_is_run_or_refused_but_nothing_else(
    original: Path, changes: list[tuple[float, int]]
) -> None:
    """Rules out readers and translators that trust a file: such a one crashes, or raises what nobody expects."""
    content = bytearray(program_file(original).read_bytes())
    for place, byte in changes:
        content[int(place * len(content))] = byte
    damaged = original.parent / "damaged.mlpackage"
    if not damaged.exists():
        shutil.copytree(original, damaged)
    program_file(damaged).write_bytes(content)
    with contextlib.suppress(PackageError):
        load(damaged, threads=1)


@given(st.integers(1, 8), st.data())
def test_unpacking_undoes_packing(bits: int, data: st.DataObject) -> None:
    """Rules out a wrong order of bits within a byte, and values lost where they straddle two bytes."""
    values = data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=40))
    number = sum(value << (bits * i) for i, value in enumerate(values))
    stored = np.frombuffer(number.to_bytes(-(-len(values) * bits // 8), "little"), np.uint8)
    assert unpack(stored, bits, len(values)).tolist() == values


def test_unpacking_refuses_too_few_bytes() -> None:
    with pytest.raises(ValueError, match="9 values of 3 bits need 4 bytes, there are 3"):
        unpack(np.zeros(3, np.uint8), 3, 9)


def test_reading_and_translating_leaves_the_package_alone(package: Path) -> None:
    before = {path: path.read_bytes() for path in package.rglob("*") if path.is_file()}
    translate(read_program(package))
    assert {path: path.read_bytes() for path in package.rglob("*") if path.is_file()} == before
