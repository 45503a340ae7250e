import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farm.domain import ComputeUnit
from farm.errors import FeedError, InvalidRequestError, PackageError
from farm.runtime.base import Array, LoadedModel, Runtime
from farm.runtime.portable import PortableRuntime, load
from farm.runtime.select import select_runtime
from tests.mil.cases import convert
from tests.mil.packages import WEIGHT, linear, save_functions, save_linear
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_linear(tmp_path_factory.mktemp("packages") / "linear.mlpackage")


@pytest.fixture(scope="module")
def model(package: Path) -> LoadedModel:
    return load(package, threads=1)


def ramp(*shape: int, dtype: Any = np.float32) -> Array:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def test_a_prediction_is_what_the_package_says(model: LoadedModel) -> None:
    x = np.random.default_rng(1).standard_normal((4, 5)).astype(np.float32)
    np.testing.assert_allclose(model.predict({"x": x})["y"], linear(x), rtol=1e-5, atol=1e-6)


def test_a_package_in_fp16_is_computed_in_fp32_with_its_rounded_weights(tmp_path: Path) -> None:
    rounded = load(save_linear(tmp_path / "half.mlpackage", fp16=True))
    x = np.random.default_rng(1).standard_normal((4, 5)).astype(np.float32)
    expected = linear(x, WEIGHT.astype(np.float16).astype(np.float32))
    np.testing.assert_allclose(rounded.predict({"x": x})["y"], expected, rtol=1e-5, atol=1e-6)


def test_a_package_of_several_functions_runs_the_one_that_is_named_else_its_default(tmp_path: Path) -> None:
    wide = np.random.default_rng(8).standard_normal((6, 3)).astype(np.float32)
    package = save_functions(tmp_path / "several.mlpackage", base=WEIGHT, small=wide)
    runtime = PortableRuntime(threads=1)
    for function, weight in ((None, WEIGHT), ("base", WEIGHT), ("small", wide)):
        x = ramp(4, weight.shape[1])
        loaded = runtime.load(package, ComputeUnit.CPU_ONLY, function)
        assert loaded.inputs["x"].shape == x.shape
        np.testing.assert_allclose(loaded.predict({"x": x})["y"], linear(x, weight), rtol=1e-5, atol=1e-5)


def test_a_function_that_a_package_lacks_is_refused_with_those_it_has(package: Path, tmp_path: Path) -> None:
    several = save_functions(tmp_path / "several.mlpackage", base=WEIGHT, small=WEIGHT)
    with pytest.raises(PackageError, match="has no function 'large'; it has base, small"):
        load(several, function="large")
    with pytest.raises(PackageError, match="has no function 'large'; it has main"):
        load(package, function="large")


def test_a_model_tells_its_inputs_and_outputs(model: LoadedModel) -> None:
    assert model.inputs["x"].shape == (4, 5)
    assert model.inputs["x"].dtype == "float32"
    assert list(model.outputs) == ["y"]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.int32, np.int64, np.uint8])
def test_arrays_of_any_numeric_type_are_converted(model: LoadedModel, dtype: Any) -> None:
    result = model.predict({"x": ramp(4, 5, dtype=dtype)})["y"]
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, linear(ramp(4, 5)), rtol=1e-5, atol=1e-5)


def test_arrays_in_another_order_of_memory_are_taken_as_they_read(model: LoadedModel) -> None:
    x = np.asfortranarray(ramp(4, 5))
    np.testing.assert_allclose(model.predict({"x": x})["y"], linear(ramp(4, 5)), rtol=1e-5, atol=1e-5)


def test_a_prediction_neither_changes_the_feeds_nor_shares_memory_with_the_last(model: LoadedModel) -> None:
    x = ramp(4, 5)
    first = model.predict({"x": x})["y"]
    kept = first.copy()
    model.predict({"x": -x})
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(x, ramp(4, 5))


def test_everything_that_is_wrong_with_the_feeds_is_said_at_once(tmp_path: Path) -> None:
    from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

    def body(a: Any, b: Any, c: Any, d: Any) -> Any:
        return mb.add(x=mb.add(x=a, y=b), y=mb.add(x=mb.cast(x=c, dtype="fp32"), y=d))

    inputs = {"a": ramp(2), "b": ramp(2), "c": ramp(2, dtype=np.int32), "d": ramp(2)}
    convert(body, inputs).save(str(tmp_path / "four.mlpackage"))
    four = load(tmp_path / "four.mlpackage")
    feeds: dict[str, Any] = {"a": ramp(3), "b": np.array(["x", "y"]), "c": np.array([0.5, 1.0]), "e": ramp(2)}
    with pytest.raises(FeedError) as caught:
        four.predict(feeds)
    message = str(caught.value)
    assert "'a' has shape [3] instead of [2]" in message
    assert "'b' has elements of type <U1 instead of float32" in message
    assert "'c' has values that int32 does not hold" in message
    assert "'d' is missing" in message
    assert "'e' is not an input of this model" in message
    assert "It takes: a [2] float32, b [2] float32, c [2] int32, d [2] float32." in message


@pytest.mark.parametrize(
    ("dtype", "values"),
    [(np.int32, [2**31]), (np.int32, [np.nan]), (np.float32, [1e39])],
)
def test_values_that_the_declared_type_does_not_hold_are_refused(
    tmp_path: Path, dtype: Any, values: list[float]
) -> None:
    from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

    convert(lambda x: mb.add(x=x, y=x, name="y"), {"x": np.zeros(1, dtype)}).save(str(tmp_path / "sum.mlpackage"))
    doubled = load(tmp_path / "sum.mlpackage")
    with pytest.raises(FeedError, match="does not hold"):
        doubled.predict({"x": np.array(values)})


def test_a_list_is_no_array(model: LoadedModel) -> None:
    with pytest.raises(FeedError, match="'x' is a list, not an array"):
        model.predict({"x": [[1.0] * 5] * 4})  # type: ignore[dict-item]  # what a caller without types may do


def test_infinities_and_nans_pass_through(model: LoadedModel) -> None:
    x = ramp(4, 5, dtype=np.float64)
    x[0, 0] = np.nan
    x[1, 0] = np.inf
    assert np.isnan(model.predict({"x": x})["y"][0]).any()


def test_the_runtime_takes_every_compute_unit_and_says_who_computes(package: Path) -> None:
    runtime: Runtime = PortableRuntime(threads=1)
    assert runtime.name == "portable"
    assert runtime.compute_units == (ComputeUnit.CPU_ONLY,)
    assert runtime.versions.keys() == {"numpy", "onnx", "onnxruntime"}
    results = [runtime.load(package, unit).predict({"x": ramp(4, 5)})["y"] for unit in ComputeUnit]
    assert all(np.array_equal(result, results[0]) for result in results)


def test_neither_torch_nor_the_whole_of_coremltools_is_needed(package: Path) -> None:
    script = f"""
import sys
sys.modules["torch"] = None
import numpy as np
from farm.runtime import portable
y = portable.load({str(package)!r}).predict({{"x": np.ones((4, 5), np.float32)}})["y"]
assert y.shape == (4, 6)
assert "coremltools" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE)


def test_importing_the_runtimes_imports_no_heavy_library() -> None:
    script = """
import sys
import farm.runtime.coreml, farm.runtime.portable, farm.runtime.select
heavy = {"torch", "coremltools", "onnx", "onnxruntime", "transformers"} & sys.modules.keys()
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=PATIENCE)


def test_the_runtime_is_chosen_by_name_or_by_the_machine() -> None:
    assert select_runtime("portable").name == "portable"
    assert select_runtime().name == ("coreml" if sys.platform == "darwin" else "portable")
    with pytest.raises(InvalidRequestError, match="There is no runtime 'cuda'"):
        select_runtime("cuda")


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has Core ML")
def test_core_ml_is_refused_where_there_is_none() -> None:
    with pytest.raises(InvalidRequestError, match="this is not a Mac"):
        select_runtime("coreml")
