"""Compressed constants against an expansion written here, element by element, from their specification."""

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it
from coremltools.converters.mil.mil import types

from tests.mil.cases import Array, Case, check, results_of

rng = np.random.default_rng(6)
INPUTS: dict[str, Array] = {"one": np.ones(1, np.float32), "x": rng.uniform(-3, 3, (2, 3, 4)).astype(np.float32)}


def packed(values: Array, bits: int) -> Array:
    """Values as one long number, the first in its lowest bits, cut into bytes."""
    number = sum(int(value) << (bits * i) for i, value in enumerate(values.reshape(-1)))
    return np.frombuffer(number.to_bytes(-(-values.size * bits // 8), "little"), np.uint8)


def looked_up(indices: Array, lut: Array, vector_axis: int | None = None) -> Array:
    """Each index's entry in the palette of its block; the elements of an entry lie along `vector_axis`."""
    length = lut.shape[-1]
    shape = list(indices.shape)
    shape[vector_axis or 0] *= length
    result = np.zeros(shape, np.float32)
    for position in itertools.product(*map(range, indices.shape)):
        block = tuple(p * count // size for p, count, size in zip(position, lut.shape, indices.shape, strict=False))
        for element in range(length):
            target = list(position)
            target[vector_axis or 0] = position[vector_axis or 0] * length + element
            result[tuple(target)] = lut[(*block, indices[position], element)]
    return result


def shift_scaled(data: Array, scale: Array, offset: Array) -> Array:
    """The product of scale and (data - offset), each of which serves a block of the data."""
    result = np.zeros(data.shape, np.float32)
    for position in itertools.product(*map(range, data.shape)):
        block = tuple(p * count // size for p, count, size in zip(position, scale.shape, data.shape, strict=True))
        result[position] = float(scale[block]) * (float(data[position]) - float(offset[block]))
    return result


def expanded(constant: object) -> object:
    """The constant's values, as an output."""
    return mb.mul(x=constant, y=1.0)


def typed(values: Array, bits: int) -> Array:
    """Values of a type below a byte, as coremltools wants them."""
    result: Array = values.astype(getattr(types, f"np_uint{bits}_dtype"))
    return result


def old_palette(bits: int) -> Case:
    indices = rng.integers(0, 2**bits, (3, 7))
    lut = rng.standard_normal(2**bits).astype(np.float32)
    return Case(
        f"palette of {bits} bits",
        lambda _: expanded(
            mb.constexpr_lut_to_dense(indices=packed(indices, bits), lut=lut, shape=np.array([3, 7], np.uint32))
        ),
        lambda _: lut[indices],
    )


def new_palette(bits: int) -> Case:
    indices = rng.integers(0, 2**bits, (4, 6))
    lut = rng.standard_normal((2, 3, 2**bits, 1)).astype(np.float32)
    return Case(
        f"palettes of {bits} bits in blocks",
        lambda _: expanded(mb.constexpr_lut_to_dense(indices=typed(indices, bits), lut=lut)),
        lambda _: looked_up(indices, lut),
    )


BYTES = rng.integers(-128, 128, (3, 4, 5)).astype(np.int8)
UNSIGNED = rng.integers(0, 256, (3, 4, 5)).astype(np.uint8)
SCALES, POINTS = rng.uniform(0.01, 0.1, 4).astype(np.float32), rng.integers(0, 256, 4).astype(np.uint8)
DENSE = np.where(rng.uniform(size=(3, 7)) > 0.6, rng.standard_normal((3, 7)), 0).astype(np.float32)
HALVES = rng.standard_normal((3, 4)).astype(np.float16)

OLD = [
    *(old_palette(bits) for bits in (1, 2, 4, 6, 8)),
    Case(
        "affine along an axis",
        lambda _: expanded(
            mb.constexpr_affine_dequantize(quantized_data=UNSIGNED, zero_point=POINTS, scale=SCALES, axis=1)
        ),
        lambda _: (UNSIGNED.astype(int) - POINTS[:, None].astype(int)) * SCALES[:, None],
    ),
    Case(
        "affine with one scale",
        lambda _: expanded(
            mb.constexpr_affine_dequantize(quantized_data=BYTES, zero_point=np.int8(-3), scale=np.float32(0.5), axis=0)
        ),
        lambda _: (BYTES.astype(int) + 3) * 0.5,
    ),
    Case(
        "sparse",
        lambda _: expanded(
            mb.constexpr_sparse_to_dense(
                nonzero_data=DENSE[DENSE != 0], mask=packed(DENSE != 0, 1), shape=np.array([3, 7], np.uint32)
            )
        ),
        lambda _: DENSE,
    ),
    Case("cast", lambda _: expanded(mb.constexpr_cast(source_val=HALVES, output_dtype="fp32")), lambda _: HALVES),
]

NIBBLES = rng.integers(-8, 8, (4, 6)).astype(np.int8)
BLOCK_SCALES = rng.uniform(0.1, 1, (2, 3)).astype(np.float32)
BLOCK_OFFSETS = rng.integers(-8, 8, (2, 3)).astype(np.int8)
VECTOR_INDICES = rng.integers(0, 4, (2, 3, 2))
VECTOR_LUT = rng.standard_normal((1, 3, 1, 4, 2)).astype(np.float32)
MASK = np.array([[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]])
SPARSE_INDICES = rng.integers(0, 2, (4, 6))
SPARSE_LUT = rng.uniform(1, 2, (1, 1, 2, 1)).astype(np.float32)
SPARSE_VECTOR_LUT = rng.uniform(1, 2, (1, 1, 2, 2)).astype(np.float32)
SPARSE_BYTES = rng.integers(1, 100, (4, 6)).astype(np.int8)


def nibbles(values: Array) -> Array:
    result: Array = values.astype(types.np_int4_dtype)
    return result


def sparse(parts: tuple[object, object]) -> object:
    mask, values = parts
    return expanded(mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask))


NEW = [
    *(new_palette(bits) for bits in (1, 2, 3, 4, 6)),
    Case(
        "palette of vectors",
        lambda _: expanded(mb.constexpr_lut_to_dense(indices=typed(VECTOR_INDICES, 2), lut=VECTOR_LUT, vector_axis=-1)),
        lambda _: looked_up(VECTOR_INDICES, VECTOR_LUT, 2),
    ),
    Case(
        "blocks of four bits with offsets",
        lambda _: expanded(
            mb.constexpr_blockwise_shift_scale(data=nibbles(NIBBLES), scale=BLOCK_SCALES, offset=nibbles(BLOCK_OFFSETS))
        ),
        lambda _: shift_scaled(NIBBLES, BLOCK_SCALES, BLOCK_OFFSETS),
    ),
    Case(
        "blocks of bytes without offsets",
        lambda _: expanded(mb.constexpr_blockwise_shift_scale(data=SPARSE_BYTES, scale=BLOCK_SCALES)),
        lambda _: shift_scaled(SPARSE_BYTES, BLOCK_SCALES, np.zeros_like(BLOCK_SCALES)),
    ),
    Case(
        "sparse with a bit for each element",
        lambda _: sparse((typed(DENSE != 0, 1), DENSE[DENSE != 0])),
        lambda _: DENSE,
    ),
    Case(
        "sparse palette",
        lambda _: sparse(
            mb.constexpr_lut_to_sparse(
                indices_mask=typed(MASK, 1), indices_nonzero_data=typed(SPARSE_INDICES[MASK == 1], 1), lut=SPARSE_LUT
            )
        ),
        lambda _: np.where(MASK == 1, looked_up(SPARSE_INDICES, SPARSE_LUT), 0),
    ),
    Case(
        "sparse palette of vectors",
        lambda _: sparse(
            mb.constexpr_lut_to_sparse(
                indices_mask=typed(MASK, 1),
                indices_nonzero_data=typed(SPARSE_INDICES[MASK == 1], 1),
                lut=SPARSE_VECTOR_LUT,
                vector_axis=0,
            )
        ),
        lambda _: np.where(MASK.repeat(2, axis=0) == 1, looked_up(SPARSE_INDICES, SPARSE_VECTOR_LUT, 0), 0),
    ),
    Case(
        "sparse blocks",
        lambda _: sparse(
            mb.constexpr_sparse_blockwise_shift_scale(
                data_mask=typed(MASK, 1),
                nonzero_data=SPARSE_BYTES[MASK == 1],
                scale=BLOCK_SCALES,
                offset=BLOCK_OFFSETS,
            )
        ),
        lambda _: np.where(MASK == 1, shift_scaled(SPARSE_BYTES, BLOCK_SCALES, BLOCK_OFFSETS), 0),
    ),
]

STEPS, ZEROS = np.array([0.1, 0.2, 0.3], np.float32), np.array([1, -2, 3], np.int8)

QUANTISATION = [
    Case(
        "quantize along an axis",
        lambda v: mb.cast(
            x=mb.quantize(input=v.x, scale=STEPS, zero_point=ZEROS, axis=1, output_dtype="int8"), dtype="int32"
        ),
        lambda a: np.clip(np.round(a.x / STEPS[:, None]) + ZEROS[:, None], -128, 127),
    ),
    Case(
        "quantize clips",
        lambda v: mb.cast(x=mb.quantize(input=v.x, scale=np.float32(0.01), output_dtype="int8"), dtype="int32"),
        lambda a: np.clip(np.round(a.x / 0.01), -128, 127),
    ),
    Case(
        "dequantize undoes quantize",
        lambda v: mb.dequantize(
            input=mb.quantize(input=v.x, scale=STEPS, zero_point=ZEROS, axis=1, output_dtype="int8"),
            scale=STEPS,
            zero_point=ZEROS,
            axis=1,
        ),
        lambda a: np.round(a.x / STEPS[:, None]) * STEPS[:, None],
    ),
]


@pytest.fixture(scope="module")
def results() -> dict[str, Array]:
    old = results_of(OLD, INPUTS, opset="iOS16")
    return old | results_of(NEW, INPUTS, opset="iOS18") | results_of(QUANTISATION, INPUTS, opset="iOS17")


@pytest.mark.parametrize("case", OLD + NEW + QUANTISATION, ids=lambda case: case.name)
def test_a_compressed_constant_expands_to_what_its_specification_says(case: Case, results: Mapping[str, Array]) -> None:
    check(case, results, INPUTS)
