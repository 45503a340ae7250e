"""Weights in palettes: tables fit, packages shrink, and infinities are left alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from torch import Tensor, nn

from farm.convert import BITS
from farm.convert.check import difference, verify
from farm.convert.components import Component
from farm.convert.packages import save_package
from farm.convert.palettes import TOLERANCES, fit_palette, palettize
from farm.runtime.portable import load


class Masked(nn.Module):
    """A layer behind a mask that holds infinities, as a text encoder of others' making may."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(64, 64)
        self.register_buffer("mask", torch.full((64, 64), -torch.inf).triu(diagonal=1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (1, 64, 64) to the same shape."""
        mixed: Tensor = (self.layer(x) + self.mask).softmax(-1)
        return mixed


@pytest.fixture
def component() -> Component:
    return Component("unet", Masked(), {"x": torch.randn(1, 64, 64).half()}, ("y",))


@pytest.mark.parametrize("bits", BITS)
def test_a_palettized_package_computes_nearly_the_same_and_is_smaller(
    component: Component, bits: int, tmp_path: Path
) -> None:
    package = tmp_path / "m.mlpackage"
    save_package(component, package)
    before, plain = weight_bytes(package), verify(component, package)
    palettize(package, bits)

    assert plain < verify(component, package, TOLERANCES[bits])
    assert weight_bytes(package) < before
    given_back = load(package).predict({"x": np.zeros((1, 64, 64), np.float32)})["y"]
    assert np.isfinite(given_back).all()
    assert given_back[0, 0, 1:].max() == 0, "what was masked stays masked"


def test_fewer_bits_are_further_off(component: Component, tmp_path: Path) -> None:
    found = []
    for bits in BITS:
        package = tmp_path / f"{bits}.mlpackage"
        save_package(component, package)
        palettize(package, bits)
        found.append(difference(component, package))

    assert found == sorted(found)


def weight_bytes(package: Path) -> int:
    return (package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").stat().st_size


@given(
    weights=arrays.arrays(np.float32, st.integers(1, 200), elements=st.floats(-4, 4, width=16)),
    bits=st.sampled_from(BITS),
)
def test_each_weight_gets_the_entry_that_is_nearest_to_it(weights: NDArray[np.float32], bits: int) -> None:
    table, indices = fit_palette(weights, bits)

    assert (table.shape, indices.shape) == ((1 << bits,), weights.shape)
    used = table[np.unique(indices)]
    nearest = np.abs(weights[:, None] - used).min(axis=1)
    np.testing.assert_allclose(np.abs(weights - table[indices]), nearest, atol=2e-3)
    if len(np.unique(weights)) <= 1 << bits:
        np.testing.assert_allclose(table[indices], weights, atol=1e-3)
