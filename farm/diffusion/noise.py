"""Seeded standard normal noise, the same numbers that the ecosystem's generators give."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Latents = NDArray[np.float32]


class RandomSource(Protocol):
    """A stream of standard normal numbers that its seed decides."""

    def normal(self, shape: Sequence[int]) -> Latents:
        """Draws the next numbers of the stream, in row-major order, as float32 of `shape`."""


class NumpyRandomSource:
    """numpy's legacy stream: MT19937 and the polar method, in float64.

    Core ML's Swift pipeline and Apple's Python pipeline draw from it, so their seeds give the same noise here.

    Args:
        seed: 0 to 2^32 - 1.
    """

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed)

    def normal(self, shape: Sequence[int]) -> Latents:
        """Draws as `numpy.random.seed(seed); numpy.random.randn(*shape)` does."""
        return self._state.standard_normal(tuple(shape)).astype(np.float32)
