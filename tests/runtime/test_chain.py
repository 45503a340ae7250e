"""Halves of a model compute what the whole does, however they are packed."""

from pathlib import Path

import numpy as np
import pytest

from farm.catalogue.catalogue import BUNDLED
from farm.diffusion.loading import load_component
from farm.domain import ComputeUnit
from farm.errors import FeedError, PackageError
from farm.runtime.base import Array, LoadedModel
from farm.runtime.chain import Chain
from farm.runtime.portable import PortableRuntime, load
from tests.catalogue.published import SPLIT, small_package
from tests.mil.packages import WEIGHT, save_functions, save_linear
from tests.worker.builders import variant


def random_feeds(model: LoadedModel) -> dict[str, Array]:
    source = np.random.default_rng(3)
    return {name: source.standard_normal(spec.shape).astype(np.float32) for name, spec in model.inputs.items()}


def test_two_halves_compute_exactly_what_the_whole_unet_does() -> None:
    whole = load(small_package("unet", attention=SPLIT))
    halves = Chain([load(small_package(f"unet_chunk{half}", attention=SPLIT)) for half in (1, 2)])
    feeds = random_feeds(whole)

    assert {name: spec.shape for name, spec in halves.inputs.items()} == {
        name: spec.shape for name, spec in whole.inputs.items()
    }
    np.testing.assert_array_equal(halves.predict(feeds)["noise_pred"], whole.predict(feeds)["noise_pred"])


def test_a_pipeline_package_computes_exactly_what_the_whole_unet_does() -> None:
    whole, pipeline = (load(small_package(name, attention=SPLIT)) for name in ("unet", "unet_pipeline"))
    feeds = random_feeds(whole)

    assert pipeline.inputs.keys() == whole.inputs.keys()
    assert list(pipeline.outputs) == ["noise_pred"]
    np.testing.assert_array_equal(pipeline.predict(feeds)["noise_pred"], whole.predict(feeds)["noise_pred"])


def test_a_component_is_loaded_from_one_package_from_two_halves_or_from_a_function(tmp_path: Path) -> None:
    import dataclasses

    halves = {f"unet_chunk{half}": small_package(f"unet_chunk{half}", attention=SPLIT) for half in (1, 2)}
    functions = save_functions(tmp_path / "f.mlpackage", plain=WEIGHT, double=2 * WEIGHT)
    chosen = dataclasses.replace(variant(), components={**halves, "vae": functions}, functions={"vae": "double"})
    runtime, unit = PortableRuntime(threads=1), ComputeUnit.CPU_ONLY

    assert list(load_component(chosen, "unet", runtime, unit).outputs) == ["noise_pred"]
    x = np.ones((4, 5), np.float32)
    loaded = load_component(chosen, "vae", runtime, unit)
    np.testing.assert_allclose(loaded.predict({"x": x})["y"], np.maximum(2 * x @ WEIGHT.T, 0), rtol=1e-5)
    assert chosen.parts_of("vae_decoder") == ()


def test_what_a_chain_is_not_fed_is_named() -> None:
    halves = Chain([load(small_package(f"unet_chunk{half}", attention=SPLIT)) for half in (1, 2)])

    with pytest.raises(FeedError, match="timestep is missing or no input"):
        halves.predict({name: feed for name, feed in random_feeds(halves).items() if name != "timestep"})


def test_halves_of_different_models_are_refused(tmp_path: Path) -> None:
    narrow, wide = (
        load(save_linear(tmp_path / f"{width}.mlpackage", weight=np.ones((2, width), np.float32))) for width in (3, 4)
    )

    with pytest.raises(PackageError, match="take x in different shapes"):
        Chain([narrow, wide])
    with pytest.raises(PackageError, match="gives noise_pred"):
        Chain([narrow], ["noise_pred"])


@pytest.mark.slow
def test_the_bundled_unet_cut_in_two_computes_exactly_what_it_does_whole(tmp_path: Path) -> None:
    import coremltools as ct

    for package in sorted(BUNDLED.rglob("*_unet.mlpackage")):
        folder = tmp_path / package.parts[-3]
        ct.models.utils.bisect_model(
            ct.models.MLModel(str(package), skip_model_load=True), str(folder), check_output_correctness=False
        )
        whole, halves = load(package), Chain([load(folder / f"chunk{half}.mlpackage") for half in (1, 2)])
        feeds = random_feeds(whole)
        np.testing.assert_array_equal(halves.predict(feeds)["noise_pred"], whole.predict(feeds)["noise_pred"])
