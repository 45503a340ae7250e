"""Weights in palettes: each becomes an index of 8, 6 or 4 bits into a table of its array's, as in Apple's models.

The entries of a table are found by k-means over the values that its weights have.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.convert.packages import make_reproducible, quietly

TOLERANCES = {8: 0.05, 6: 0.2, 4: 0.7}
"""Largest relative difference from the checkpoint that is let pass, by bits. A part that is left out causes 1."""

_FEWEST_WEIGHTS = 2048
"""Smaller arrays stay as they are: their tables would be as large as they."""


def palettize(package: Path, bits: int) -> None:
    """Puts the large weights of a package into palettes, in place.

    Constants that hold an infinity or NaN stay out: with one of them, no table has an entry that means anything.

    Args:
        package: An `.mlpackage` folder.
        bits: 8, 6 or 4.
    """
    import coremltools as ct
    import coremltools.optimize.coreml as cto

    with quietly():
        model = ct.models.MLModel(str(package), skip_model_load=True)
        weights = cto.get_weights_metadata(model, weight_threshold=_FEWEST_WEIGHTS)
        endless = [name for name, weight in weights.items() if not np.isfinite(weight.val).all()]
        palette = cto.OpPalettizerConfig(
            mode="custom", lut_function=lambda weight: fit_palette(weight, bits), weight_threshold=_FEWEST_WEIGHTS
        )
        config = cto.OptimizationConfig(global_config=palette, op_name_configs=dict.fromkeys(endless))
        cto.palettize_weights(model, config).save(str(package))
    make_reproducible(package)


def fit_palette(weights: NDArray[Any], bits: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """A table of 2^bits entries with little squared error for some weights, and each weight's nearest entry in it.

    Args:
        weights: Finite numbers, in any shape. They are told apart to float16's precision.
        bits: Bits of an index.
    """
    from sklearn.cluster import KMeans

    values, places, counts = np.unique(weights.astype(np.float16), return_inverse=True, return_counts=True)
    table = np.zeros(1 << bits, weights.dtype)
    if len(values) <= len(table):
        table[: len(values)] = values
        return table, places.ravel().astype(np.uint8)
    column = values.astype(np.float64)[:, None]
    found = KMeans(len(table), n_init=1, random_state=0).fit(column, sample_weight=counts)
    table[:] = found.cluster_centers_.ravel()
    return table, found.labels_[places.ravel()].astype(np.uint8)
