"""Does a package compute what its checkpoint does? Asked of the portable runtime, which needs no Mac."""

from pathlib import Path

import numpy as np
import torch

from farm.convert.components import Component
from farm.errors import ConversionError
from farm.runtime.portable import load

TOLERANCE = 0.01
"""Largest relative difference let pass. Weights rounded to float16 cause 0.001 or less; a wrong scale or a head that is
left out causes 0.1 and more."""


def difference(component: Component, package: Path) -> float:
    """How far a package's outputs lie from torch's for the component's example inputs.

    Returns:
        The largest relative L2 difference among the outputs.
    """
    examples = {name: example.float() for name, example in component.inputs.items()}
    with torch.no_grad():
        expected = component.module(*examples.values())
    if isinstance(expected, torch.Tensor):
        expected = (expected,)
    found = load(package).predict({name: example.numpy() for name, example in examples.items()})
    return max(
        relative_difference(found[name], reference.numpy())
        for name, reference in zip(component.outputs, expected, strict=True)
    )


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Norm of the difference of two arrays, relative to the norm of the second."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def verify(component: Component, package: Path, tolerance: float | None = None) -> float:
    """Like `difference`, but does not let a package pass that computes something else.

    Args:
        component: What it was made of.
        package: The package.
        tolerance: Largest difference let pass; `TOLERANCE` if None.

    Raises:
        ConversionError: The difference is above the tolerance, or is no number.
    """
    found, most = difference(component, package), TOLERANCE if tolerance is None else tolerance
    if not found <= most:
        raise ConversionError(
            f"{package} differs from the checkpoint by {found:.2g} where at most {most} is allowed, so it would "
            "make other images; this is a fault of the conversion, please report it with the checkpoint's name",
            package=str(package),
        )
    return found
