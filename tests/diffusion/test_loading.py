"""A model whose UNet comes in two halves, or as a pipeline of them, draws what the whole one draws."""

from pathlib import Path

import numpy as np
import pytest

from farm.catalogue import Catalogue
from farm.diffusion.pipeline import Pipeline
from farm.domain import ComputeUnit
from farm.runtime.portable import PortableRuntime
from tests.catalogue.published import SPLIT, put_package, put_tokenizer
from tests.diffusion.models import finish, spec


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
