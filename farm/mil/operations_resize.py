"""Operations that resample pictures.

Definitions: `mil/ops/defs/iOS15/image_resizing.py` of coremltools 9.0, with iOS 16 and 17. Linear interpolation is
written out from the sampling grids of that documentation (two gathers and a blend along each dimension): it is exact
for every sampling mode, of which ONNX's Resize knows only some.
"""

import numpy as np
from numpy.typing import NDArray

from farm.mil.graph import Graph, Operand, Result, Tensor, UnsupportedError, fp32, int64
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
        int64([*x.shape[: x.rank - len(sizes)], *sizes]),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


@OPERATIONS.operation
def upsample_nearest_neighbor(
    g: Graph, x: Tensor, *, scale_factor_height: float = 1, scale_factor_width: float = 1
) -> Result:
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
    *,
    shape: list[int],
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Result:
    sizes = [wanted or given for wanted, given in zip(shape[-resized_dims:], x.shape[-resized_dims:], strict=True)]
    if interpolation_mode == "NEAREST_NEIGHBOR":
        return _nearest(g, x, sizes)
    return _linear(g, x, sizes, sampling_mode)


def _linear(g: Graph, x: Tensor, sizes: list[int], mode: str) -> Result:
    result: Operand = x
    for axis, target in zip(range(-len(sizes), 0), sizes, strict=True):
        result = _sample(g, result, axis, _grid(x.shape[axis], target, mode))
    assert isinstance(result, str)
    return result


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
    # GridSample reflects about the corner pixels' centres or edges, whichever it aligns to.
    modes = {"constant": "zeros", "border": "border", "reflection" if align_corners else "symmetric": "reflection"}
    if padding_mode not in modes or (padding_mode == "constant" and padding_value != 0):
        raise UnsupportedError(f"padding_mode '{padding_mode}' with value {padding_value} here is not known")
    height, width = x.shape[-2:]
    match coordinates_mode:
        case "normalized_minus_one_to_one":
            points: Operand = coordinates
        case "normalized_zero_to_one":
            points = g.node("Sub", g.node("Mul", coordinates, fp32(2.0)), fp32(1.0))
        case _ if align_corners:
            steps = fp32([2 / max(width - 1, 1), 2 / max(height - 1, 1)])
            points = g.node("Sub", g.node("Mul", coordinates, steps), fp32(1.0))
        case _:
            raise UnsupportedError(f"coordinates_mode '{coordinates_mode}' without align_corners is not known")
    return g.node(
        "GridSample",
        x,
        points,
        mode={"bilinear": "linear", "nearest": "nearest"}[sampling_mode],
        padding_mode=modes[padding_mode],
        align_corners=int(align_corners),
    )
