"""Seeded standard normal noise, the same numbers that the ecosystem's generators give."""

import math
from collections.abc import Callable, Mapping, Sequence
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


class TorchRandomSource:
    """torch's stream on a CPU: MT19937 and Box-Muller over blocks of 16, in float32 (ATen's `normal_fill`).

    diffusers' documentation draws from it.

    Args:
        seed: 0 to 2^32 - 1.
    """

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed)

    def normal(self, shape: Sequence[int]) -> Latents:
        """Draws as `torch.randn(shape, generator=torch.Generator().manual_seed(seed))` does.

        Raises:
            ValueError: `shape` holds fewer than 16 numbers, for which torch has another method.
        """
        count = math.prod(shape)
        if count < _BLOCK:
            raise ValueError(f"torch draws {count} numbers, fewer than {_BLOCK}, by a method that no latents need")
        uniform = self._uniform(count)
        whole = count - count % _BLOCK
        normal = np.empty(count, np.float32)
        normal[:whole] = _box_muller_in_blocks(uniform[:whole])
        if whole < count:
            # The last 16 numbers are drawn anew where they do not fall on a block of their own.
            normal[-_BLOCK:] = _box_muller_in_blocks(self._uniform(_BLOCK))
        return normal.reshape(shape)

    def _uniform(self, count: int) -> Latents:
        bits = self._state.randint(0, 2**32, count, np.uint32)
        return (bits & np.uint32(2**24 - 1)).astype(np.float32) * np.float32(2**-24)


class NvidiaRandomSource:
    """torch's stream on an NVIDIA GPU: Philox4x32-10 and Box-Muller (curand's `normal4`, of which torch keeps one).

    AUTOMATIC1111's interface draws from it. The numbers are a GPU's as long as it runs a thread for each of them,
    which even small ones do for latents of 1024x1024 pixels.

    Args:
        seed: 0 to 2^64 - 1.
    """

    def __init__(self, seed: int) -> None:
        self._key = (seed & 0xFFFFFFFF, seed >> 32)
        self._calls = 0

    def normal(self, shape: Sequence[int]) -> Latents:
        """Draws as `torch.randn(shape, device="cuda")` does after `torch.manual_seed(seed)`."""
        counter = np.zeros((4, math.prod(shape)), np.uint64)
        counter[0] = self._calls
        counter[2] = np.arange(counter.shape[1])
        self._calls += 1
        bits = philox(counter, self._key)
        scale = 2.0**-32
        u, v = (bits[0] + 0.5) * scale, (bits[1] + 0.5) * scale
        normal: Latents = (np.sqrt(-2 * np.log(u)) * np.sin(2 * np.pi * v)).astype(np.float32)
        return normal.reshape(shape)


RANDOM_SOURCES: Mapping[str, Callable[[int], RandomSource]] = {
    "numpy": NumpyRandomSource,
    "torch": TorchRandomSource,
    "nvidia": NvidiaRandomSource,
}
"""Makers of random sources by the name that Core ML's Swift pipeline gives them."""

_BLOCK = 16

_PHILOX_ROUNDS = 10
_PHILOX_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_PHILOX_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(counter: NDArray[np.uint64], key: tuple[int, int]) -> NDArray[np.uint64]:
    """The Philox4x32-10 bijection of Salmon et al. 2011 ("Parallel random numbers: as easy as 1, 2, 3").

    Args:
        counter: (4, count) words of 32 bits.
        key: Two words of 32 bits.

    Returns:
        (4, count) words of 32 bits.
    """
    low = np.uint64(0xFFFFFFFF)
    c0, c1, c2, c3 = counter
    for round_number in range(_PHILOX_ROUNDS):
        k0, k1 = (np.uint64(k + round_number * weyl) & low for k, weyl in zip(key, _PHILOX_WEYL, strict=True))
        product0, product1 = np.uint64(_PHILOX_MULTIPLIERS[0]) * c0, np.uint64(_PHILOX_MULTIPLIERS[1]) * c2
        shift = np.uint64(32)
        c0, c1, c2, c3 = (product1 >> shift) ^ c1 ^ k0, product1 & low, (product0 >> shift) ^ c3 ^ k1, product0 & low
    return np.stack([c0, c1, c2, c3])


def _box_muller_in_blocks(uniform: Latents) -> Latents:
    """Makes normal numbers of uniform ones in [0, 1): in each block of 16, the first 8 with the last 8."""
    first, second = np.split(uniform.reshape(-1, _BLOCK), 2, axis=1)
    radius = np.sqrt(np.float32(-2) * np.log(np.float32(1) - first))
    angle = np.float32(2 * math.pi) * second
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
