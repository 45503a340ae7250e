from collections.abc import Mapping

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

from tests.mil.cases import Array, Case, check, results_of

rng = np.random.default_rng(5)
INPUTS: dict[str, Array] = {
    "x": rng.standard_normal((2, 3, 4, 5)).astype(np.float32),
    "grid": rng.uniform(-1.2, 1.2, (2, 6, 4, 2)).astype(np.float32),
    "pixels": rng.uniform(0, 3, (2, 6, 4, 2)).astype(np.float32),
    "size": np.array([7, 8, 0], np.int32),
}
MATRIX = np.array([[0.9, 0.2, -0.1, -0.3, 0.8, 0.2]], np.float32)


def interpolated(x: Array, size: tuple[int, int], **arguments: object) -> Array:
    result: Array = F.interpolate(torch.tensor(x), size=size, **arguments).numpy()  # type: ignore[arg-type]  # loose
    return result


def sampled(x: Array, grid: Array, **arguments: object) -> Array:
    result: Array = F.grid_sample(torch.tensor(x), torch.tensor(grid), **arguments).numpy()  # type: ignore[arg-type]  # loose
    return result


def transformed(height: int, width: int) -> Array:
    """Where `MATRIX` takes the elements of two pictures."""
    grid = F.affine_grid(torch.tensor(MATRIX).reshape(1, 2, 3), [1, 3, height, width], align_corners=True)
    return np.repeat(grid.numpy(), 2, axis=0)


def at(x: Array, rows: list[float], columns: list[float]) -> Array:
    """`x` at the crossings of fractional rows and columns, linearly interpolated; an independent, slow way."""

    def along(values: Array, positions: list[float], axis: int) -> Array:
        moved = np.moveaxis(values, axis, 0)
        parts = []
        for position in positions:
            low = int(position)
            high = min(low + 1, len(moved) - 1)
            parts.append(moved[low] * (low + 1 - position) + moved[high] * (position - low))
        return np.moveaxis(np.stack(parts), 0, axis)

    return along(along(x, rows, -2), columns, -1)


CASES = [
    Case(
        "upsample_nearest_neighbor",
        lambda v: mb.upsample_nearest_neighbor(x=v.x, scale_factor_height=2, scale_factor_width=3),
        lambda a: a.x.repeat(2, axis=2).repeat(3, axis=3),
    ),
    Case(
        "resize_nearest_neighbor",
        lambda v: mb.resize_nearest_neighbor(x=v.x, target_size_height=7, target_size_width=3),
        lambda a: interpolated(a.x, (7, 3), mode="nearest"),
    ),
    Case(
        "upsample_bilinear aligns corners by default",
        lambda v: mb.upsample_bilinear(x=v.x, scale_factor_height=2, scale_factor_width=3),
        lambda a: interpolated(a.x, (8, 15), mode="bilinear", align_corners=True),
    ),
    Case(
        "upsample_bilinear by pixel centres",
        lambda v: mb.upsample_bilinear(x=v.x, scale_factor_height=2, scale_factor_width=3, align_corners=False),
        lambda a: interpolated(a.x, (8, 15), mode="bilinear", align_corners=False),
    ),
    Case(
        "upsample_bilinear by pixel corners",
        lambda v: mb.upsample_bilinear(x=v.x, scale_factor_height=2, align_corners=False, half_pixel_centers=False),
        lambda a: at(a.x, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3], [0, 1, 2, 3, 4]),
    ),
    Case(
        "resize_bilinear by default",
        lambda v: mb.resize_bilinear(x=v.x, target_size_height=8, target_size_width=10),
        lambda a: at(a.x, [0, 0.5, 1, 1.5, 2, 2.5, 3, 3], [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4]),
    ),
    Case(
        "resize_bilinear to strictly aligned corners",
        lambda v: mb.resize_bilinear(
            x=v.x, target_size_height=7, target_size_width=3, sampling_mode="STRICT_ALIGN_CORNERS"
        ),
        lambda a: interpolated(a.x, (7, 3), mode="bilinear", align_corners=True),
    ),
    Case(
        "resize_bilinear to one row in the middle",
        lambda v: mb.resize_bilinear(x=v.x, target_size_height=1, target_size_width=9, sampling_mode="ALIGN_CORNERS"),
        lambda a: at(a.x, [1.5], [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]),
    ),
    Case(
        "resize_bilinear to offset corners",
        lambda v: mb.resize_bilinear(x=v.x, target_size_height=3, target_size_width=4, sampling_mode="OFFSET_CORNERS"),
        lambda a: at(a.x, [0.5, 1.5, 2.5], [0.5, 1.5, 2.5, 3.5]),
    ),
    Case(
        "resize_bilinear to unaligned corners",
        lambda v: mb.resize_bilinear(x=v.x, target_size_height=6, target_size_width=3, sampling_mode="UNALIGN_CORNERS"),
        lambda a: interpolated(a.x, (6, 3), mode="bilinear", align_corners=False),
    ),
    Case(
        "resize",
        lambda v: mb.resize(x=v.x, shape=[1, 6, 0], resized_dims=np.uint32(2), sampling_mode="UNALIGN_CORNERS"),
        lambda a: interpolated(a.x, (6, 5), mode="bilinear", align_corners=False),
    ),
    Case(
        "resize to the nearest",
        lambda v: mb.resize(x=v.x, shape=[8, 10], resized_dims=np.uint32(2), interpolation_mode="NEAREST_NEIGHBOR"),
        lambda a: a.x.repeat(2, axis=2).repeat(2, axis=3),
    ),
    Case(
        "resample",
        lambda v: mb.resample(
            x=v.x,
            coordinates=v.grid,
            sampling_mode="bilinear",
            padding_mode="constant",
            padding_value=0.0,
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=True,
        ),
        lambda a: sampled(a.x, a.grid, align_corners=True),
    ),
    Case(
        "resample the nearest, border repeated",
        lambda v: mb.resample(
            x=v.x,
            coordinates=v.grid,
            sampling_mode="nearest",
            padding_mode="border",
            padding_value=0.0,
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=False,
        ),
        lambda a: sampled(a.x, a.grid, mode="nearest", padding_mode="border", align_corners=False),
    ),
    Case(
        "resample, symmetric, from coordinates between 0 and 1",
        lambda v: mb.resample(
            x=v.x,
            coordinates=mb.linear_activation(x=v.grid, alpha=0.5, beta=0.5),
            sampling_mode="bilinear",
            padding_mode="symmetric",
            padding_value=0.0,
            coordinates_mode="normalized_zero_to_one",
            align_corners=False,
        ),
        lambda a: sampled(a.x, a.grid, padding_mode="reflection", align_corners=False),
        1e-4,
    ),
    Case(
        "resample from pixels' coordinates",
        lambda v: mb.resample(
            x=v.x,
            coordinates=v.pixels,
            sampling_mode="bilinear",
            padding_mode="constant",
            padding_value=0.0,
            coordinates_mode="unnormalized",
            align_corners=True,
        ),
        lambda a: sampled(a.x, a.pixels * np.array([2 / 4, 2 / 3], np.float32) - 1, align_corners=True),
        1e-4,
    ),
    Case(
        "resample from pixels' coordinates, symmetric",
        lambda v: mb.resample(
            x=v.x,
            coordinates=v.pixels,
            sampling_mode="bilinear",
            padding_mode="symmetric",
            padding_value=0.0,
            coordinates_mode="unnormalized",
            align_corners=False,
        ),
        lambda a: sampled(a.x, a.pixels * np.array([2 / 4, 2 / 3], np.float32) - 1, align_corners=True),
        1e-4,
    ),
    Case(
        "resample with another value around",
        lambda v: mb.resample(
            x=v.x,
            coordinates=v.grid,
            sampling_mode="bilinear",
            padding_mode="constant",
            padding_value=3.0,
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=True,
        ),
        lambda a: sampled(a.x - 3, a.grid, align_corners=True) + 3,
    ),
    Case(
        "affine",
        lambda v: mb.affine(
            x=v.x,
            transform_matrix=MATRIX,
            output_height=3,
            output_width=6,
            sampling_mode="bilinear",
            padding_mode="constant",
            padding_value=0.0,
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=True,
        ),
        lambda a: sampled(a.x, transformed(3, 6), align_corners=True),
    ),
    Case(
        "upsample_nearest_neighbor by a fraction",
        lambda v: mb.upsample_nearest_neighbor(x=v.x, scale_factor_height=1.1, scale_factor_width=0.67),
        lambda a: a.x[..., [0, 1, 3]],
    ),
    Case(
        "resize to the nearest of the sampling grid",
        lambda v: mb.resize(x=v.x, shape=[6, 5], resized_dims=np.uint32(2), interpolation_mode="NEAREST_NEIGHBOR"),
        lambda a: a.x[:, :, [0, 1, 1, 2, 3, 3]],
    ),
    Case(
        "resize to a computed size",
        lambda v: mb.resize(x=v.x, shape=v.size, resized_dims=np.uint32(2), sampling_mode="UNALIGN_CORNERS"),
        lambda a: interpolated(a.x, (8, 5), mode="bilinear", align_corners=False),
    ),
    Case(
        "resize to the nearest of a computed size",
        lambda v: mb.resize(x=v.x, shape=v.size, resized_dims=np.uint32(2), interpolation_mode="NEAREST_NEIGHBOR"),
        lambda a: a.x.repeat(2, axis=2),
    ),
]


@pytest.fixture(scope="module")
def results() -> dict[str, Array]:
    return results_of(CASES, INPUTS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_resampling_takes_the_positions_that_the_specification_names(case: Case, results: Mapping[str, Array]) -> None:
    check(case, results, INPUTS)
