"""How far two renders are from each other."""

import math

import numpy as np
from numpy.typing import NDArray


def psnr(found: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of pixels in dB; infinite where they are the same."""
    mean_square = float(np.mean((found.astype(np.float64) - wanted) ** 2))
    return math.inf if mean_square == 0 else 10 * math.log10(255**2 / mean_square)
