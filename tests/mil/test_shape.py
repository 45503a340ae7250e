from collections.abc import Mapping

import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

from tests.mil.cases import Array, Case, check, results_of

rng = np.random.default_rng(2)
INPUTS: dict[str, Array] = {
    "x": rng.standard_normal((2, 3, 4, 5)).astype(np.float32),
    "same": rng.standard_normal((2, 3, 4, 5)).astype(np.float32),
    "blocks": rng.standard_normal((4, 8, 6, 4)).astype(np.float32),
    "one": rng.standard_normal((1, 3, 1)).astype(np.float32),
    "n": rng.integers(-2, 5, (3, 2)).astype(np.int32),
    "classes": np.array([[0, 3], [2, 1]], np.int32),
    "lengths": np.array([3, 1, 2], np.int32),
    "start": np.array([1, 0, 1, 2], np.int32),
    "stop": np.array([2, 2, 4, 5], np.int32),
}


def overwritten(x: Array, place: tuple[slice, ...], value: float) -> Array:
    result = x.copy()
    result[place] = value
    return result


def blocks_to_depth(x: Array, size: int) -> Array:
    """TensorFlow's space_to_depth, which MIL follows: position in the block before the channel."""
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // size, size, w // size, size).transpose(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, c * size * size, h // size, w // size)


def depth_to_blocks(x: Array, size: int) -> Array:
    n, c, h, w = x.shape
    parts = x.reshape(n, size, size, c // size**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, c // size**2, h * size, w * size)


def reversed_sequences(x: Array, lengths: Array) -> Array:
    result = x.copy()
    for batch, length in enumerate(lengths):
        result[:length, batch] = x[:length, batch][::-1]
    return result


def space_to_batch(x: Array) -> Array:
    """Blocks of 2 by 3 after padding rows by (1, 1) and columns by (0, 2)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 2)))
    return np.concatenate([padded[:, :, row::2, column::3] for row in range(2) for column in range(3)])


def updated(x: Array, value: Array) -> Array:
    result = x.copy()
    result[:, 1:3, 3, ::2] = value
    return result


CASES = [
    Case("reshape", lambda v: mb.reshape(x=v.x, shape=[6, -1]), lambda a: a.x.reshape(6, -1)),
    Case(
        "reshape to a shape worked out from another",
        lambda v: mb.reshape(
            x=v.x, shape=mb.concat(values=[mb.slice_by_size(x=mb.shape(x=v.same), begin=[1], size=[2]), [-1]], axis=0)
        ),
        lambda a: a.x.reshape(3, 4, -1),
    ),
    Case(
        "reshape_like",
        lambda v: mb.reshape_like(
            x=v.x, ref_tensors=(v.same, v.same), begins=(2, 0), ends=(0, 2), end_masks=(True, False)
        ),
        lambda a: a.x.reshape(4, 5, 2, 3),
    ),
    Case("flatten2d", lambda v: mb.flatten2d(x=v.x, axis=2), lambda a: a.x.reshape(6, 20)),
    Case("transpose", lambda v: mb.transpose(x=v.x, perm=[2, 0, -1, 1]), lambda a: a.x.transpose(2, 0, 3, 1)),
    Case("expand_dims", lambda v: mb.expand_dims(x=v.x, axes=[1]), lambda a: a.x[:, None]),
    Case("expand_dims from the end", lambda v: mb.expand_dims(x=v.one, axes=[0, -1]), lambda a: a.one[None, ..., None]),
    Case("squeeze one axis", lambda v: mb.squeeze(x=v.one, axes=[2]), lambda a: a.one[:, :, 0]),
    Case("squeeze all axes", lambda v: mb.squeeze(x=v.one), lambda a: a.one.squeeze()),
    Case("identity", lambda v: mb.identity(x=v.x), lambda a: a.x),
    Case("shape", lambda v: mb.shape(x=v.x), lambda a: np.array(a.x.shape)),
    Case(
        "slice", lambda v: mb.slice_by_index(x=v.x, begin=[0, 1, 0, 2], end=[1, 3, 4, 4]), lambda a: a.x[:1, 1:, :, 2:4]
    ),
    Case(
        "slice with strides and masks",
        lambda v: mb.slice_by_index(
            x=v.x,
            begin=[9, 2, 9, 4],
            end=[9, 0, 3, 9],
            stride=[1, -1, 2, -2],
            begin_mask=[True, False, True, False],
            end_mask=[True, False, False, True],
        ),
        lambda a: a.x[:, 2:0:-1, :3:2, 4::-2],
    ),
    Case(
        "slice backwards from the end",
        lambda v: mb.slice_by_index(
            x=v.x,
            begin=[0, 0, 0, 0],
            end=[0, 0, 0, 0],
            stride=[1, 1, 1, -1],
            begin_mask=[True] * 4,
            end_mask=[True] * 4,
        ),
        lambda a: a.x[..., ::-1],
    ),
    Case(
        "slice by negative positions",
        lambda v: mb.slice_by_index(x=v.x, begin=[0, -2, 0, -4], end=[2, 3, -1, -1]),
        lambda a: a.x[:, -2:, :-1, -4:-1],
    ),
    Case(
        "slice with dropped dimensions ignores their ends",
        lambda v: mb.slice_by_index(
            x=v.x, begin=[1, 0, -1, 1], end=[0, 3, 0, 4], squeeze_mask=[True, False, True, False]
        ),
        lambda a: a.x[1, :, -1, 1:4],
    ),
    Case(
        "slice from computed positions",
        lambda v: mb.slice_by_index(
            x=v.x,
            begin=v.start,
            end=mb.add(x=v.start, y=np.array([1, 2, 2, 2], np.int32)),
            end_mask=[False, False, True, False],
        ),
        lambda a: a.x[1:2, 0:2, 1:, 2:4],
    ),
    Case(
        "slice_by_size",
        lambda v: mb.slice_by_size(x=v.x, begin=[0, 1, 2, 0], size=[2, 1, -1, 3]),
        lambda a: a.x[:, 1:2, 2:, :3],
    ),
    Case(
        "slice_by_size from computed positions",
        lambda v: mb.slice_by_size(x=v.x, begin=v.start, size=[1, 2, -1, 3]),
        lambda a: a.x[1:2, 0:2, 1:, 2:5],
    ),
    Case(
        "slice_update at computed positions",
        lambda v: mb.slice_update(x=v.same, update=mb.fill(shape=[1, 2, 3, 3], value=7.0), begin=v.start, end=v.stop),
        lambda a: overwritten(a.same, (slice(1, 2), slice(0, 2), slice(1, 4), slice(2, 5)), 7.0),
    ),
    Case(
        "slice_update",
        lambda v: mb.slice_update(
            x=v.x,
            update=mb.mul(
                x=mb.slice_by_index(
                    x=v.x, begin=[0, 0, 0, 0], end=[2, 2, 1, 3], squeeze_mask=[False, False, True, False]
                ),
                y=2.0,
            ),
            begin=[0, 1, 3, 0],
            end=[2, 3, 0, 0],
            stride=[1, 1, 1, 2],
            end_mask=[False, False, False, True],
            squeeze_mask=[False, False, True, False],
        ),
        lambda a: updated(a.x, 2 * a.x[:, :2, 0, :3]),
    ),
    Case("crop", lambda v: mb.crop(x=v.x, crop_height=[1, 0], crop_width=[0, 2]), lambda a: a.x[..., 1:, :-2]),
    Case("reverse", lambda v: mb.reverse(x=v.x, axes=[1, -1]), lambda a: a.x[:, ::-1, :, ::-1]),
    Case("reverse everything", lambda v: mb.reverse(x=v.x), lambda a: a.x[::-1, ::-1, ::-1, ::-1]),
    Case(
        "reverse_sequence",
        lambda v: mb.reverse_sequence(
            x=mb.squeeze(
                x=mb.slice_by_size(x=mb.transpose(x=v.x, perm=[2, 1, 0, 3]), begin=[0, 0, 0, 0], size=[4, 3, 1, 5])
            ),
            lengths=v.lengths,
            seq_axis=0,
            batch_axis=1,
        ),
        lambda a: reversed_sequences(a.x.transpose(2, 1, 0, 3)[:, :, 0], a.lengths),
    ),
    Case(
        "sliding_windows",
        lambda v: mb.sliding_windows(x=v.x, axis=-2, size=2, stride=2),
        lambda a: np.stack([a.x[:, :, i : i + 2] for i in (0, 2)], axis=2),
    ),
    Case(
        "concat",
        lambda v: mb.concat(values=[v.x, v.same, v.x], axis=-2),
        lambda a: np.concatenate([a.x, a.same, a.x], 2),
    ),
    Case(
        "concat interleaved",
        lambda v: mb.concat(values=[v.x, v.same], axis=1, interleave=True),
        lambda a: np.stack([a.x, a.same], axis=2).reshape(2, 6, 4, 5),
    ),
    Case("stack", lambda v: mb.stack(values=[v.x, v.same], axis=2), lambda a: np.stack([a.x, a.same], axis=2)),
    Case(
        "stack at the end",
        lambda v: mb.stack(values=[v.x, v.same], axis=-1),
        lambda a: np.stack([a.x, a.same], axis=-1),
    ),
    Case("split in equal parts", lambda v: mb.split(x=v.blocks, num_splits=4, axis=1)[2], lambda a: a.blocks[:, 4:6]),
    Case("split by sizes", lambda v: mb.split(x=v.x, split_sizes=[1, 3, 1], axis=-1)[1], lambda a: a.x[..., 1:4]),
    Case("tile", lambda v: mb.tile(x=v.one, reps=[2, 1, 3]), lambda a: np.tile(a.one, [2, 1, 3])),
    Case(
        "pad the last dimensions with a constant",
        lambda v: mb.pad(x=v.x, pad=[1, 0, 2, 3], mode="constant", constant_val=0.5),
        lambda a: np.pad(a.x, ((0, 0), (0, 0), (1, 0), (2, 3)), constant_values=0.5),
    ),
    Case(
        "pad by reflection",
        lambda v: mb.pad(x=v.x, pad=[0, 0, 0, 0, 1, 2, 3, 0], mode="reflect"),
        lambda a: np.pad(a.x, ((0, 0), (0, 0), (1, 2), (3, 0)), "reflect"),
    ),
    Case(
        "pad by repetition",
        lambda v: mb.pad(x=v.x, pad=[1, 2], mode="replicate"),
        lambda a: np.pad(a.x, ((0, 0), (0, 0), (0, 0), (1, 2)), "edge"),
    ),
    Case(
        "depth_to_space", lambda v: mb.depth_to_space(x=v.blocks, block_size=2), lambda a: depth_to_blocks(a.blocks, 2)
    ),
    Case(
        "space_to_depth", lambda v: mb.space_to_depth(x=v.blocks, block_size=2), lambda a: blocks_to_depth(a.blocks, 2)
    ),
    Case(
        "pixel_shuffle",
        lambda v: mb.pixel_shuffle(x=v.blocks, upscale_factor=2),
        lambda a: torch.pixel_shuffle(torch.tensor(a.blocks), 2).numpy(),
    ),
    Case(
        "pixel_unshuffle",
        lambda v: mb.pixel_unshuffle(x=v.blocks, downscale_factor=np.uint32(2)),
        lambda a: torch.pixel_unshuffle(torch.tensor(a.blocks), 2).numpy(),
    ),
    Case(
        "space_to_batch",
        lambda v: mb.space_to_batch(x=v.blocks, block_shape=[2, 3], paddings=[[1, 1], [0, 2]]),
        lambda a: space_to_batch(a.blocks),
    ),
    Case(
        "batch_to_space undoes space_to_batch",
        lambda v: mb.batch_to_space(
            x=mb.space_to_batch(x=v.blocks, block_shape=[2, 3], paddings=[[1, 1], [0, 2]]),
            block_shape=[2, 3],
            crops=[[1, 1], [0, 2]],
        ),
        lambda a: a.blocks,
    ),
    Case("fill", lambda v: mb.fill(shape=mb.shape(x=v.one), value=2.5), lambda a: np.full(a.one.shape, 2.5)),
    Case("fill_like", lambda v: mb.fill_like(ref_tensor=v.x, value=1.5), lambda a: np.full_like(a.x, 1.5)),
    Case(
        "range_1d",
        lambda v: mb.range_1d(end=mb.reduce_max(x=v.lengths), start=-1, step=2),
        lambda a: np.arange(-1, a.lengths.max(), 2),
    ),
    Case(
        "one_hot",
        lambda v: mb.one_hot(indices=v.classes, one_hot_vector_size=4, axis=1, on_value=2.0, off_value=-1.0),
        lambda a: np.moveaxis(np.eye(4)[a.classes] * 3 - 1, -1, 1),
    ),
    Case(
        "one_hot of a computed size",
        lambda v: mb.one_hot(indices=v.classes, one_hot_vector_size=mb.reduce_max(x=v.stop)),
        lambda a: np.eye(5)[a.classes],
    ),
    Case(
        "one_hot by default",
        lambda v: mb.one_hot(indices=v.classes, one_hot_vector_size=4),
        lambda a: np.eye(4)[a.classes],
    ),
    Case(
        "band_part",
        lambda v: mb.band_part(x=v.x, lower=1, upper=2),
        lambda a: np.triu(np.tril(a.x, 2), -1),
    ),
    Case("band_part keeps a whole side", lambda v: mb.band_part(x=v.x, lower=-1, upper=0), lambda a: np.tril(a.x)),
]


@pytest.fixture(scope="module")
def results() -> dict[str, Array]:
    return results_of(CASES, INPUTS, opset="iOS18")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_operation_on_shapes_moves_elements_as_numpy_does(case: Case, results: Mapping[str, Array]) -> None:
    check(case, results, INPUTS)
