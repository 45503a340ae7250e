"""Checks and converts what a model is fed, as `MLModel.predict` does, but says all that is wrong at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from farm.errors import FeedError
from farm.mil.features import Feature
from farm.runtime.base import Array, TensorSpec


def tensor_specs(features: Sequence[Feature]) -> dict[str, TensorSpec]:
    """What the runtime tells of a model's declared inputs or outputs."""
    return {feature.name: TensorSpec(feature.name, feature.shape, feature.dtype) for feature in features}


def check_feeds(inputs: Mapping[str, Feature], feeds: Mapping[str, Array]) -> None:
    """Checks that arrays can be fed to a model.

    Args:
        inputs: Its declared inputs.
        feeds: Arrays by input.

    Raises:
        FeedError: They cannot. Every name, shape and type that is wrong is named.
    """
    wrong = [f"'{name}' is not an input of this model" for name in feeds if name not in inputs]
    for name, feature in inputs.items():
        if name in feeds:
            wrong += _wrong_with(feature, feeds[name])
        elif feature.default is None:
            wrong.append(f"'{name}' is missing")
    if wrong:
        takes = ", ".join(f"{feature.name} {list(feature.shape)} {feature.dtype}" for feature in inputs.values())
        raise FeedError(
            f"The model cannot be fed this: {'; '.join(wrong)}. It takes: {takes}.", problems="; ".join(wrong)
        )


def _wrong_with(feature: Feature, array: object) -> list[str]:
    if not isinstance(array, np.ndarray):
        return [f"'{feature.name}' is a {type(array).__name__}, not an array"]
    if array.dtype == feature.dtype and array.shape == feature.shape:
        return []
    wrong = []
    if not feature.takes(array.shape):
        wrong.append(f"'{feature.name}' has shape {list(array.shape)} instead of {list(feature.shape)}")
    if array.dtype.kind not in "fiu":
        wrong.append(f"'{feature.name}' has elements of type {array.dtype} instead of {feature.dtype}")
    elif not _fits(array, np.dtype(feature.dtype)):
        wrong.append(f"'{feature.name}' has values that {feature.dtype} does not hold")
    return wrong


def _fits(array: Array, dtype: np.dtype[Any]) -> bool:
    """Whether an array's values can be converted; fractions must not be lost to integers, nor sizes to infinity."""
    if np.can_cast(array.dtype, dtype):
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(dtype)
    if dtype.kind == "f":
        return bool(np.all(np.isfinite(converted) | ~np.isfinite(array)))
    return bool(np.all(converted == array))
