"""A model whose UNet comes in two halves, or as a pipeline of them, draws what the whole one draws."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.parity import PSNR_GOAL
from benchmarks.psnr import psnr
from farm.catalogue import Catalogue
from farm.diffusion.pipeline import Pipeline
from farm.domain import ComputeUnit, ModelVariant
from farm.runtime.portable import PortableRuntime
from tests.catalogue.published import SPLIT, put_package, put_tokenizer
from tests.diffusion.models import finish, shapes, spec

pytestmark = pytest.mark.timeout(600)  # coremltools alone takes long to import on a machine that is busy


def draw(folder: Path, *unets: str) -> np.ndarray:
    for component in ("text_encoder", "vae_decoder"):
        put_package(folder / f"{component}.mlpackage", component)
    for unet in unets:
        put_package(folder / f"{unet}.mlpackage", unet, attention=SPLIT)
    put_tokenizer(folder)
    (variant,) = Catalogue([folder.parent], folder.parent / "facts.json").read(folder).variants
    pipeline = Pipeline.load(variant, PortableRuntime(threads=1), ComputeUnit.CPU_ONLY)
    _, rendered = finish(pipeline.render(spec(width=32, height=32, guidance_scale=2.0)))
    return rendered.latents


@pytest.mark.parametrize("unets", [("unet_chunk1", "unet_chunk2"), ("unet_pipeline",)], ids=" and ".join)
def test_halves_draw_exactly_what_the_whole_does(tmp_path: Path, unets: tuple[str, ...]) -> None:
    np.testing.assert_array_equal(draw(tmp_path / "halves", *unets), draw(tmp_path / "whole", "unet"))


def bisect(folder: Path, *, merge: bool) -> None:
    """Puts the bundled model into a folder, its UNet cut by coremltools; `merge` makes one package of the halves."""
    from coremltools.models.utils import bisect_model

    for component in ("text_encoder", "vae_decoder"):
        package = shapes().components[component]
        shutil.copytree(package, folder / package.name)
    bisect_model(str(shapes().components["unet"]), str(folder), merge, check_output_correctness=False)


def gather(folder: Path) -> None:
    """Puts the bundled model into a folder, all of it as functions of one package."""
    from coremltools.models.utils import MultiFunctionDescriptor, save_multifunction

    functions = MultiFunctionDescriptor()
    for component in ("text_encoder", "unet", "vae_decoder"):
        functions.add_function(str(shapes().components[component]), "main", f"run_{component}")
    functions.default_function_name = "run_unet"
    save_multifunction(functions, str(folder / "everything.mlpackage"))


PIECES: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "halves": (
        lambda folder: bisect(folder, merge=False),
        {"text_encoder", "unet_chunk1", "unet_chunk2", "vae_decoder"},
    ),
    "a pipeline of halves": (lambda folder: bisect(folder, merge=True), {"text_encoder", "unet", "vae_decoder"}),
    "functions of one package": (gather, {"text_encoder", "unet", "vae_decoder"}),
}


@pytest.mark.parametrize("kind", PIECES)
def test_the_bundled_model_in_pieces_draws_what_it_draws_in_one(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "shapes"
    folder.mkdir(parents=True)
    cut, components = PIECES[kind]
    cut(folder)
    for file in ("vocab.json", "merges.txt", "model.toml"):
        shutil.copyfile(shapes().tokenizer / file, folder / file)
    (variant,) = Catalogue([folder.parent], tmp_path / "facts.json").read(folder).variants

    assert set(variant.components) == components
    assert psnr(pixels(variant), pixels(shapes())) >= PSNR_GOAL


def pixels(variant: ModelVariant) -> np.ndarray:
    pipeline = Pipeline.load(variant, PortableRuntime(threads=1), ComputeUnit.CPU_ONLY)
    return finish(pipeline.render(spec()))[1].pixels
