"""Core ML's runtime: its pure parts everywhere, the rest on a Mac against the portable runtime."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farm.catalogue.catalogue import BUNDLED
from farm.domain import ComputeUnit
from farm.errors import FeedError, PackageError
from farm.mil.program import read_interface
from farm.runtime.base import Array
from farm.runtime.coreml import CoreMLModel, CoreMLRuntime, compiled_model
from farm.runtime.portable import load
from tests.catalogue.folders import snapshot_of
from tests.mil.packages import WEIGHT, linear, save_functions, save_linear, weight_file

BUNDLED_PACKAGES = sorted(BUNDLED.rglob("*.mlpackage"))
UNITS = [ComputeUnit.CPU_ONLY, ComputeUnit.CPU_AND_GPU]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return save_linear(tmp_path / "linear.mlpackage")


class Compiler:
    """Makes a folder as Core ML's compiler does, and counts how often."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, package: Path, place: Path) -> None:
        self.runs += 1
        place.mkdir()
        (place / "model.mil").write_text(f"compiled from {package.name}")


def test_a_package_is_compiled_once_to_a_place_that_stays(package: Path, tmp_path: Path) -> None:
    compiler = Compiler()
    first = compiled_model(package, tmp_path / "cache", "15.1", compiler)
    moved = package.rename(tmp_path / "renamed.mlpackage")
    assert compiled_model(moved, tmp_path / "cache", "15.1", compiler) == first
    assert compiler.runs == 1
    assert first.suffix == ".mlmodelc"
    assert (first / "model.mil").read_text() == "compiled from linear.mlpackage"


def test_other_contents_and_other_systems_are_compiled_anew(package: Path, tmp_path: Path) -> None:
    compiler = Compiler()
    places = {compiled_model(package, tmp_path / "cache", system, compiler) for system in ("15.1", "15.2")}
    weight_file(package).write_bytes(weight_file(package).read_bytes()[:-1] + b"\x01")
    places.add(compiled_model(package, tmp_path / "cache", "15.1", compiler))
    assert len(places) == compiler.runs == 3


def test_what_the_finder_leaves_in_a_package_does_not_count(package: Path, tmp_path: Path) -> None:
    compiler = Compiler()
    first = compiled_model(package, tmp_path / "cache", "15.1", compiler)
    (package / ".DS_Store").write_text("icons")
    assert compiled_model(package, tmp_path / "cache", "15.1", compiler) == first


def test_core_ml_compiles_the_files_that_a_package_of_links_stands_for(package: Path, tmp_path: Path) -> None:
    linked = snapshot_of(package.parent, tmp_path / "hub") / package.name
    given: list[tuple[str, bool, bytes]] = []

    def compile_(package: Path, place: Path) -> None:
        given.append((package.name, weight_file(package).is_symlink(), weight_file(package).read_bytes()))
        place.mkdir()

    place = compiled_model(linked, tmp_path / "cache", "15.1", compile_)
    assert given == [(package.name, False, weight_file(package).read_bytes())]
    assert list((tmp_path / "cache").iterdir()) == [place] == [compiled_model(package, place.parent, "15.1", compile_)]


def test_a_compilation_that_fails_leaves_nothing_behind(package: Path, tmp_path: Path) -> None:
    def fail(_: Path, place: Path) -> None:
        place.mkdir()
        raise RuntimeError("no space")

    with pytest.raises(RuntimeError, match="no space"):
        compiled_model(package, tmp_path / "cache", "15.1", fail)
    assert list((tmp_path / "cache").iterdir()) == []


def test_two_processes_may_compile_the_same_package_at_once(package: Path, tmp_path: Path) -> None:
    def compile_late(package: Path, place: Path) -> None:
        compiled_model(package, tmp_path / "cache", "15.1", Compiler())
        Compiler()(package, place)

    place = compiled_model(package, tmp_path / "cache", "15.1", compile_late)
    assert (place / "model.mil").is_file()
    assert list((tmp_path / "cache").iterdir()) == [place]


class CoreML:
    """Stands where Core ML's own model stands: keeps the arrays that it is given, as Core ML was seen to do."""

    def __init__(self) -> None:
        self.given: list[Array] = []

    def predict(self, feeds: Mapping[str, Array]) -> dict[str, Any]:
        self.given.append(feeds["x"])
        return {"y": linear(feeds["x"]).astype(np.float32)}


def test_core_ml_is_given_the_same_contiguous_float32_buffer_every_time(package: Path) -> None:
    loaded = CoreML()
    model = CoreMLModel(package, loaded, *read_interface(package))
    for x in (np.ones((4, 5), np.float16), np.asfortranarray(np.full((4, 5), 2.0))):
        np.testing.assert_allclose(model.predict({"x": x})["y"], linear(x), rtol=1e-5)
    first, second = loaded.given
    assert first is second
    assert first.dtype == np.float32
    assert first.flags.c_contiguous


def test_feeds_are_checked_before_core_ml_sees_them(package: Path) -> None:
    loaded = CoreML()
    model = CoreMLModel(package, loaded, *read_interface(package))
    with pytest.raises(FeedError, match="'x' is missing"):
        model.predict({"z": np.ones(1)})
    assert loaded.given == []


def test_core_ml_that_fails_to_run_is_reported_with_its_own_words(package: Path) -> None:
    class Broken:
        def predict(self, _: object) -> None:
            raise RuntimeError("E5RT: ANE inference operation failed")

    model = CoreMLModel(package, Broken(), *read_interface(package))
    with pytest.raises(PackageError, match="ANE inference operation failed"):
        model.predict({"x": np.ones((4, 5))})


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has Core ML")
def test_loading_where_there_is_no_core_ml_is_a_package_error(package: Path, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="Core ML cannot load"):
        CoreMLRuntime(tmp_path / "cache").load(package, ComputeUnit.CPU_ONLY)


@pytest.mark.macos
def test_core_ml_runs_the_function_that_is_named(tmp_path: Path) -> None:
    package = save_functions(tmp_path / "several.mlpackage", base=WEIGHT, doubled=2 * WEIGHT)
    x = np.random.default_rng(1).standard_normal((4, WEIGHT.shape[1])).astype(np.float32)
    result = CoreMLRuntime(tmp_path / "cache").load(package, ComputeUnit.CPU_ONLY, "doubled").predict({"x": x})["y"]
    np.testing.assert_allclose(result, linear(x, 2 * WEIGHT), rtol=2e-2, atol=2e-2)


@pytest.mark.macos
def test_a_compiled_model_runs_from_where_it_is(tmp_path: Path) -> None:
    from coremltools.models.utils import compile_model

    package = save_linear(tmp_path / "linear.mlpackage")
    compiled = Path(compile_model(str(package), str(tmp_path / "linear.mlmodelc")))
    x = np.random.default_rng(1).standard_normal((4, WEIGHT.shape[1])).astype(np.float32)

    loaded = CoreMLRuntime(tmp_path / "cache").load(compiled, ComputeUnit.CPU_ONLY)

    assert loaded.inputs["x"].shape == x.shape
    np.testing.assert_allclose(loaded.predict({"x": x})["y"], linear(x), rtol=2e-2, atol=2e-2)
    assert not (tmp_path / "cache").exists(), "nothing is compiled again"


def noise_for(package: Path) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    inputs, _ = read_interface(package)
    return {
        feature.name: rng.integers(0, 700, feature.shape).astype(np.int32)
        if feature.dtype == "int32" or feature.name == "input_ids"
        else rng.standard_normal(feature.shape).astype(np.float32)
        for feature in inputs
    }


@pytest.mark.macos
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
@pytest.mark.parametrize("fp16", [False, True], ids=["fp32", "fp16"])
def test_core_ml_computes_what_the_portable_runtime_does(tmp_path: Path, unit: ComputeUnit, fp16: bool) -> None:
    package = save_linear(tmp_path / "linear.mlpackage", fp16=fp16)
    x = np.random.default_rng(1).standard_normal((4, WEIGHT.shape[1])).astype(np.float32)
    result = CoreMLRuntime(tmp_path / "cache").load(package, unit).predict({"x": x})["y"]
    np.testing.assert_allclose(result, load(package).predict({"x": x})["y"], rtol=2e-2, atol=2e-2)


@pytest.mark.macos
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
@pytest.mark.parametrize("package", BUNDLED_PACKAGES, ids=lambda path: f"{path.parents[1].name}-{path.stem}")
def test_core_ml_computes_the_bundled_model_as_the_portable_runtime_does(
    package: Path, unit: ComputeUnit, tmp_path: Path
) -> None:
    feeds = noise_for(package)
    results = CoreMLRuntime(tmp_path / "cache").load(package, unit).predict(feeds)
    for name, expected in load(package).predict(feeds).items():
        error = np.linalg.norm(results[name] - expected) / np.linalg.norm(expected)
        assert error < 3e-2, f"{name} is {error:.1%} off"
