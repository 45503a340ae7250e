"""Operations that resample pictures.

Definitions: `mil/ops/defs/iOS15/image_resizing.py` of coremltools 9.0, with iOS 16 and 17. Linear interpolation is
written out from the sampling grids of that documentation (two gathers and a blend along each dimension): it is exact
for every sampling mode, of which ONNX's Resize knows only some.
"""

import numpy as np
from numpy.typing import NDArray

from farm.mil.graph import Graph, Operand, Result, Tensor, UnsupportedError, cast, fixed, fp32, indices, int64
from farm.mil.table import OperationTable

OPERATIONS = OperationTable()


def _grid(size: int, target: int, mode: str) -> NDArray[np.float64]:
    """Positions in an input of `size` elements at which an output of `target` elements samples it."""
    i = np.arange(target, dtype=np.float64)
    if mode == "ALIGN_CORNERS" and target == 1:
        return np.array([(size - 1) / 2])
    match mode:
        case "STRICT_ALIGN_CORNERS" | "ALIGN_CORNERS":
            points = i * (size - 1) / max(target - 1, 1)
        case "DEFAULT":
            points = i * size / target
        case "OFFSET_CORNERS":
            points = (i + 0.5) * max(1, size - 1) / target
        case "UNALIGN_CORNERS":
            points = (i + 0.5) * size / target - 0.5
        case _:
            raise UnsupportedError(f"sampling_mode '{mode}' is not known")
    return np.clip(points, 0, size - 1)


def _sample(g: Graph, x: Operand, axis: int, points: NDArray[np.float64]) -> str:
    """`x` at fractional positions along an axis, interpolated linearly."""
    low = np.floor(points)
    high = np.ceil(points)
    shape = (-1, *[1] * (-axis - 1))
    share = fp32(points - low).reshape(shape)
    below = g.node("Gather", x, int64(low), axis=axis)
    above = g.node("Gather", x, int64(high), axis=axis)
    return g.node("Add", g.node("Mul", below, 1 - share), g.node("Mul", above, share))


def _nearest(g: Graph, x: Tensor, sizes: list[int]) -> str:
    return g.node(
        "Resize",
        x,
        None,
        None,
        int64(sizes),
        axes=list(range(x.rank - len(sizes), x.rank)),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


@OPERATIONS.operation
def upsample_nearest_neighbor(
    g: Graph, x: Tensor, *, scale_factor_height: float = 1, scale_factor_width: float = 1
) -> Result:
    if None not in x.type.shape[-2:]:  # whole sizes decide where the scales do not give such
        height, width = fixed(x.type.shape[-2:])
        return _nearest(g, x, [int(height * scale_factor_height), int(width * scale_factor_width)])
    scales = fp32([1] * (x.rank - 2) + [scale_factor_height, scale_factor_width])
    return g.node(
        "Resize", x, None, scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )


@OPERATIONS.operation
def resize_nearest_neighbor(g: Graph, x: Tensor, *, target_size_height: int, target_size_width: int) -> Result:
    return _nearest(g, x, [target_size_height, target_size_width])


@OPERATIONS.operation
def upsample_bilinear(
    g: Graph,
    x: Tensor,
    *,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Result:
    unaligned = "DEFAULT" if half_pixel_centers is False else "UNALIGN_CORNERS"
    mode = "STRICT_ALIGN_CORNERS" if align_corners else unaligned
    result: Operand = x
    for axis, scale in ((-2, scale_factor_height), (-1, scale_factor_width)):
        size = x.shape[axis]
        result = _sample(g, result, axis, _grid(size, int(size * scale), mode))
    assert isinstance(result, str)
    return result


@OPERATIONS.operation
def resize_bilinear(
    g: Graph,
    x: Tensor,
    *,
    target_size_height: int = 1,
    target_size_width: int = 1,
    sampling_mode: str = "DEFAULT",
) -> Result:
    return _linear(g, x, [target_size_height, target_size_width], sampling_mode)


@OPERATIONS.operation
def resize(
    g: Graph,
    x: Tensor,
    shape: Tensor,
    *,
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Result:
    if shape.known is None:
        return _resize_to_computed(g, x, shape, resized_dims, interpolation_mode, sampling_mode)
    wanted = shape.value().tolist()[-resized_dims:]
    sizes = [size or given for size, given in zip(wanted, fixed(x.type.shape[-resized_dims:]), strict=True)]
    if interpolation_mode == "NEAREST_NEIGHBOR":
        return _nearest_to_grid(g, x, sizes, sampling_mode)
    return _linear(g, x, sizes, sampling_mode)


_TRANSFORMATIONS = {
    "DEFAULT": "asymmetric", "ALIGN_CORNERS": "align_corners", "STRICT_ALIGN_CORNERS": "align_corners",
    "UNALIGN_CORNERS": "half_pixel",
}  # fmt: skip
"""ONNX's word for a sampling mode, where it has one."""


def _resize_to_computed(g: Graph, x: Tensor, shape: Tensor, dims: int, interpolation: str, sampling: str) -> Result:
    if sampling not in _TRANSFORMATIONS:
        raise UnsupportedError(f"sampling_mode '{sampling}' to a size that the model computes is not known")
    wanted = g.node("Slice", indices(g, shape), int64([-dims]), int64([np.iinfo(np.int64).max]))
    given = g.node("Shape", x, start=-dims)
    return g.node(
        "Resize",
        x,
        None,
        None,
        g.node("Where", g.node("Equal", wanted, int64(0)), given, wanted),
        axes=list(range(x.rank - dims, x.rank)),
        mode="nearest" if interpolation == "NEAREST_NEIGHBOR" else "linear",
        coordinate_transformation_mode=_TRANSFORMATIONS[sampling],
        nearest_mode="round_prefer_floor",
    )


def _nearest_to_grid(g: Graph, x: Tensor, sizes: list[int], mode: str) -> Result:
    result: Operand = x
    for axis, target in zip(range(-len(sizes), 0), sizes, strict=True):
        nearest = np.ceil(_grid(x.shape[axis], target, mode) - 0.5)
        result = g.node("Gather", result, int64(nearest), axis=axis)
    assert isinstance(result, str)
    return result


def _linear(g: Graph, x: Tensor, sizes: list[int], mode: str) -> Result:
    result: Operand = x
    for axis, target in zip(range(-len(sizes), 0), sizes, strict=True):
        result = _sample(g, result, axis, _grid(x.shape[axis], target, mode))
    assert isinstance(result, str)
    return result


_PADDINGS = {"constant": "zeros", "border": "border", "reflection": "reflection", "symmetric": "reflection"}


@OPERATIONS.operation
def resample(
    g: Graph,
    x: Tensor,
    coordinates: Tensor,
    *,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Result:
    is_pixels = coordinates_mode == "unnormalized"
    # GridSample reflects about the corner pixels' centres or edges, whichever it aligns to.
    aligned = {"reflection": True, "symmetric": False}.get(padding_mode, align_corners or is_pixels)
    if aligned != align_corners and not is_pixels:
        raise UnsupportedError(f"padding_mode '{padding_mode}' with align_corners={align_corners} is not known")
    given: Operand = coordinates if coordinates.is_float else cast(g, coordinates, np.float32)
    size = fp32(x.shape[:-3:-1])
    match coordinates_mode:
        case "normalized_minus_one_to_one":
            points = given
        case "normalized_zero_to_one":
            points = g.node("Sub", g.node("Mul", given, fp32(2.0)), fp32(1.0))
        case _ if aligned:
            points = g.node("Sub", g.node("Mul", given, 2 / np.maximum(size - 1, 1)), fp32(1.0))
        case _:
            points = g.node("Sub", g.node("Mul", g.node("Add", given, fp32(0.5)), 2 / size), fp32(1.0))
    # GridSample pads with zeros: other values become zero before and themselves again behind it.
    padding = fp32(padding_value) if padding_mode == "constant" and padding_value != 0 else None
    sampled = g.node(
        "GridSample",
        x if padding is None else g.node("Sub", x, padding),
        points,
        mode={"bilinear": "linear", "nearest": "nearest"}[sampling_mode],
        padding_mode=_PADDINGS[padding_mode],
        align_corners=int(aligned),
    )
    return sampled if padding is None else g.node("Add", sampled, padding)


@OPERATIONS.operation
def affine(
    g: Graph,
    x: Tensor,
    transform_matrix: Tensor,
    *,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Result:
    asked = (sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners)
    if asked != ("bilinear", "constant", 0, "normalized_minus_one_to_one", True):
        raise UnsupportedError(f"only the form that the specification allows is known, not {asked}")
    batch, channels, *_ = x.shape
    matrices = g.node("Expand", g.node("Reshape", transform_matrix, int64([-1, 2, 3])), int64([batch, 2, 3]))
    size = int64([batch, channels, output_height, output_width])
    points = g.node("AffineGrid", matrices, size, align_corners=1)
    return g.node("GridSample", x, points, mode="linear", padding_mode="zeros", align_corners=1)
