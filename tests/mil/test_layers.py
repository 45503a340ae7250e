from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

from tests.mil.cases import Array, Case, check, results_of

rng = np.random.default_rng(4)


def floats(*shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


INPUTS: dict[str, Array] = {
    "x": floats(2, 4, 7, 6),
    "line": floats(2, 4, 9),
    "cube": floats(1, 2, 4, 5, 3),
    "rows": floats(3, 5),
    "tokens": floats(2, 7, 5),
    "a": floats(2, 3, 4, 5),
    "b": floats(2, 3, 5, 6),
    "n": rng.integers(-3, 4, (5, 3)).astype(np.int32),
    "query": floats(2, 3, 6, 8),
    "key": floats(2, 3, 5, 8),
    "value": floats(2, 3, 5, 4),
    "heads": floats(2, 8, 1, 6),
    "keys": floats(2, 5, 1, 8),
    "wide": floats(2, 3, 4, 5),
    "tall": floats(2, 5, 4, 2),
}
KERNEL, KERNEL_BIAS = floats(6, 4, 3, 2), floats(6)
GROUPED = floats(6, 2, 3, 2)
LINE_KERNEL = floats(3, 4, 4)
CUBE_KERNEL = floats(3, 2, 2, 3, 2)
TRANSPOSED, TRANSPOSED_BIAS = floats(4, 3, 3, 2), floats(3)
TRANSPOSED_GROUPED = floats(4, 3, 3, 3)
WEIGHT, BIAS = floats(4, 5), floats(4)
GAMMA, BETA = floats(4), floats(4)
MEAN, VARIANCE = floats(4), rng.uniform(0.1, 2, 4).astype(np.float32)
MASK = rng.uniform(size=(6, 5)) > 0.4
MASK[:, 0] = True
BIG_EPSILON = 0.3


def with_torch(function: Any, *arrays: Array | None, **arguments: Any) -> Array:
    tensors = [None if array is None else torch.tensor(array) for array in arrays]
    result: Array = function(*tensors, **arguments).numpy()
    return result


def padded(x: Array, rows: tuple[int, int], columns: tuple[int, int]) -> Array:
    return np.pad(x, ((0, 0), (0, 0), rows, columns))


def channel_normalized(x: Array) -> Array:
    mean, variance = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    shape = (1, 4, 1, 1)
    result: Array = (x - mean) / np.sqrt(variance + BIG_EPSILON) * GAMMA.reshape(shape) + BETA.reshape(shape)
    return result


CONVOLUTIONS = [
    Case(
        "conv, valid by default",
        lambda v: mb.conv(x=v.x, weight=KERNEL, bias=KERNEL_BIAS),
        lambda a: with_torch(F.conv2d, a.x, KERNEL, KERNEL_BIAS),
    ),
    Case(
        "conv with strides, dilations and uneven padding",
        lambda v: mb.conv(x=v.x, weight=KERNEL, strides=[2, 1], dilations=[1, 2], pad_type="custom", pad=[1, 2, 0, 3]),
        lambda a: with_torch(F.conv2d, padded(a.x, (1, 2), (0, 3)), KERNEL, stride=(2, 1), dilation=(1, 2)),
    ),
    Case(
        "conv in groups",
        lambda v: mb.conv(x=v.x, weight=GROUPED, groups=2),
        lambda a: with_torch(F.conv2d, a.x, GROUPED, groups=2),
    ),
    Case(
        "conv, same: the odd padding comes last",
        lambda v: mb.conv(x=v.x, weight=KERNEL, pad_type="same"),
        lambda a: with_torch(F.conv2d, padded(a.x, (1, 1), (0, 1)), KERNEL),
    ),
    Case(
        "conv, same, with strides",
        lambda v: mb.conv(x=v.x, weight=KERNEL, pad_type="same", strides=[3, 2]),
        lambda a: with_torch(F.conv2d, padded(a.x, (1, 1), (0, 0)), KERNEL, stride=(3, 2)),
    ),
    Case(
        "conv, same_lower: the odd padding comes first",
        lambda v: mb.conv(x=v.x, weight=KERNEL, pad_type="same_lower"),
        lambda a: with_torch(F.conv2d, padded(a.x, (1, 1), (1, 0)), KERNEL),
    ),
    Case(
        "conv in one dimension",
        lambda v: mb.conv(x=v.line, weight=LINE_KERNEL, strides=[2]),
        lambda a: with_torch(F.conv1d, a.line, LINE_KERNEL, stride=2),
    ),
    Case(
        "conv in three dimensions",
        lambda v: mb.conv(x=v.cube, weight=CUBE_KERNEL),
        lambda a: with_torch(F.conv3d, a.cube, CUBE_KERNEL),
    ),
    Case(
        "conv_transpose",
        lambda v: mb.conv_transpose(x=v.x, weight=TRANSPOSED, bias=TRANSPOSED_BIAS, strides=[2, 1], dilations=[1, 2]),
        lambda a: with_torch(F.conv_transpose2d, a.x, TRANSPOSED, TRANSPOSED_BIAS, stride=(2, 1), dilation=(1, 2)),
    ),
    Case(
        "conv_transpose with uneven padding, in groups",
        lambda v: mb.conv_transpose(
            x=v.x, weight=TRANSPOSED_GROUPED, groups=2, strides=[2, 2], pad_type="custom", pad=[1, 0, 2, 1]
        ),
        lambda a: with_torch(F.conv_transpose2d, a.x, TRANSPOSED_GROUPED, stride=2, groups=2)[:, :, 1:, 2:-1],
    ),
    Case(
        "conv_transpose to a given shape",
        lambda v: mb.conv_transpose(
            x=v.x,
            weight=TRANSPOSED_GROUPED,
            strides=[2, 2],
            pad_type="custom",
            pad=[1, 1, 1, 1],
            output_shape=[2, 3, 14, 12],
        ),
        lambda a: with_torch(F.conv_transpose2d, a.x, TRANSPOSED_GROUPED, stride=2, padding=1, output_padding=1),
    ),
    Case(
        "conv_transpose, same: a stride of n makes n times the size",
        lambda v: mb.conv_transpose(x=v.x, weight=TRANSPOSED_GROUPED, strides=[2, 2], pad_type="same"),
        lambda a: with_torch(F.conv_transpose2d, a.x, TRANSPOSED_GROUPED, stride=2)[:, :, :14, :12],
    ),
]

POOLS = [
    Case(
        "max_pool",
        lambda v: mb.max_pool(x=v.x, kernel_sizes=[3, 2], strides=[2, 1], pad_type="valid"),
        lambda a: with_torch(F.max_pool2d, a.x, kernel_size=(3, 2), stride=(2, 1)),
    ),
    Case(
        "max_pool with padding and a rounded-up size",
        lambda v: mb.max_pool(
            x=v.x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1], ceil_mode=True
        ),
        lambda a: with_torch(F.max_pool2d, a.x, kernel_size=3, stride=2, padding=1, ceil_mode=True),
    ),
    Case(
        "max_pool, same",
        lambda v: mb.max_pool(x=v.x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="same"),
        lambda a: with_torch(F.max_pool2d, a.x, kernel_size=2, ceil_mode=True),
    ),
    Case(
        "avg_pool counts padding by default",
        lambda v: mb.avg_pool(x=v.x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]),
        lambda a: with_torch(F.avg_pool2d, a.x, kernel_size=3, stride=2, padding=1),
    ),
    Case(
        "avg_pool without the padding",
        lambda v: mb.avg_pool(
            x=v.x,
            kernel_sizes=[3, 3],
            strides=[2, 2],
            pad_type="custom",
            pad=[1, 1, 1, 1],
            exclude_padding_from_average=True,
        ),
        lambda a: with_torch(F.avg_pool2d, a.x, kernel_size=3, stride=2, padding=1, count_include_pad=False),
    ),
    Case(
        "avg_pool with a rounded-up size",
        lambda v: mb.avg_pool(
            x=v.x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1], ceil_mode=True
        ),
        lambda a: with_torch(F.avg_pool2d, a.x, kernel_size=3, stride=2, padding=1, ceil_mode=True),
    ),
    Case(
        "avg_pool in one dimension",
        lambda v: mb.avg_pool(x=v.line, kernel_sizes=[4], pad_type="valid"),
        lambda a: with_torch(F.avg_pool1d, a.line, kernel_size=4, stride=1),
    ),
    Case(
        "l2_pool",
        lambda v: mb.l2_pool(x=v.x, kernel_sizes=[2, 3], strides=[2, 1], pad_type="valid"),
        lambda a: with_torch(F.lp_pool2d, a.x, norm_type=2, kernel_size=(2, 3), stride=(2, 1)),
    ),
]

NORMALISATIONS = [
    Case(
        "batch_norm",
        lambda v: mb.batch_norm(x=v.x, mean=MEAN, variance=VARIANCE, gamma=GAMMA, beta=BETA, epsilon=BIG_EPSILON),
        lambda a: with_torch(F.batch_norm, a.x, MEAN, VARIANCE, GAMMA, BETA, eps=BIG_EPSILON),
    ),
    Case(
        "batch_norm by default",
        lambda v: mb.batch_norm(x=v.x, mean=MEAN, variance=VARIANCE * 1e-4),
        lambda a: with_torch(F.batch_norm, a.x, MEAN, VARIANCE * 1e-4, eps=1e-5),
    ),
    Case(
        "instance_norm",
        lambda v: mb.instance_norm(x=v.x, gamma=GAMMA, beta=BETA, epsilon=BIG_EPSILON),
        lambda a: with_torch(
            lambda *t: F.instance_norm(t[0], weight=t[1], bias=t[2], eps=BIG_EPSILON), a.x, GAMMA, BETA
        ),
    ),
    Case(
        "instance_norm by default",
        lambda v: mb.instance_norm(x=mb.mul(x=v.x, y=0.01)),
        lambda a: with_torch(F.instance_norm, a.x * np.float32(0.01), eps=1e-5),
    ),
    Case(
        "layer_norm over the last axis",
        lambda v: mb.layer_norm(x=v.tokens, axes=[-1], gamma=WEIGHT[0], beta=WEIGHT[1], epsilon=BIG_EPSILON),
        lambda a: with_torch(
            lambda *t: F.layer_norm(t[0], (5,), t[1], t[2], BIG_EPSILON), a.tokens, WEIGHT[0], WEIGHT[1]
        ),
    ),
    Case(
        "layer_norm over two axes",
        lambda v: mb.layer_norm(x=mb.mul(x=v.x, y=0.01), axes=[2, 3]),
        lambda a: with_torch(F.layer_norm, a.x * np.float32(0.01), normalized_shape=(7, 6), eps=1e-5),
    ),
    Case(
        "layer_norm over all axes",
        lambda v: mb.layer_norm(x=v.rows, axes=[0, 1]),
        lambda a: with_torch(F.layer_norm, a.rows, normalized_shape=(3, 5), eps=1e-5),
    ),
    Case(
        "layer_norm over channels",
        lambda v: mb.layer_norm(x=v.x, axes=[1], gamma=GAMMA, beta=BETA, epsilon=BIG_EPSILON),
        lambda a: channel_normalized(a.x),
    ),
    Case(
        "l2_norm",
        lambda v: mb.l2_norm(x=v.x, epsilon=BIG_EPSILON),
        lambda a: a.x / np.sqrt((a.x**2).sum((1, 2, 3), keepdims=True) + BIG_EPSILON),
    ),
    Case(
        "local_response_norm",
        lambda v: mb.local_response_norm(x=v.x, size=3, alpha=0.9, beta=0.6, k=1.2),
        lambda a: with_torch(F.local_response_norm, a.x, size=3, alpha=0.9, beta=0.6, k=1.2),
    ),
    Case(
        "local_response_norm by default",
        lambda v: mb.local_response_norm(x=mb.mul(x=v.line, y=30.0), size=2),
        lambda a: with_torch(F.local_response_norm, a.line * np.float32(30), size=2),
    ),
]

PRODUCTS = [
    Case("linear", lambda v: mb.linear(x=v.tokens, weight=WEIGHT, bias=BIAS), lambda a: a.tokens @ WEIGHT.T + BIAS),
    Case(
        "linear of integers",
        lambda v: mb.linear(x=mb.cast(x=v.tokens, dtype="int32"), weight=np.array([[2, -3, 1, 0, 4]], np.int32)),
        lambda a: a.tokens.astype(np.int32) @ np.array([[2, -3, 1, 0, 4]]).T,
    ),
    Case("linear without a bias", lambda v: mb.linear(x=v.rows, weight=WEIGHT), lambda a: a.rows @ WEIGHT.T),
    Case("matmul", lambda v: mb.matmul(x=v.a, y=v.b), lambda a: a.a @ a.b),
    Case(
        "matmul with both transposed",
        lambda v: mb.matmul(
            x=mb.transpose(x=v.a, perm=[0, 1, 3, 2]),
            y=mb.transpose(x=v.b, perm=[0, 1, 3, 2]),
            transpose_x=True,
            transpose_y=True,
        ),
        lambda a: a.a @ a.b,
    ),
    Case(
        "matmul of floats and integers",
        lambda v: mb.matmul(x=v.rows, y=np.arange(15, dtype=np.int32).reshape(5, 3)),
        lambda a: a.rows @ np.arange(15).reshape(5, 3),
    ),
    Case("matmul of integers", lambda v: mb.matmul(x=v.n, y=v.n, transpose_x=True), lambda a: a.n.T @ a.n),
    Case(
        "einsum of one head",
        lambda v: mb.einsum(values=[v.keys, v.heads], equation="bkhc,bchq->bkhq"),
        lambda a: np.einsum("bkhc,bchq->bkhq", a.keys, a.heads),
    ),
    Case(
        "einsum of several heads",
        lambda v: mb.einsum(values=[v.wide, v.tall], equation="nchw,nwhu->nchu"),
        lambda a: np.einsum("nchw,nwhu->nchu", a.wide, a.tall),
    ),
    Case(
        "einsum without a batch",
        lambda v: mb.einsum(
            values=[
                mb.squeeze(x=mb.slice_by_size(x=v.wide, begin=[1, 0, 0, 0], size=[1, 3, 4, 5]), axes=[0]),
                mb.squeeze(x=mb.slice_by_size(x=v.tall, begin=[1, 0, 0, 0], size=[1, 5, 4, 2]), axes=[0]),
            ],
            equation="abc,cbd->abd",
        ),
        lambda a: np.einsum("abc,cbd->abd", a.wide[1], a.tall[1]),
    ),
    Case(
        "einsum of heads that share one key",
        lambda v: mb.einsum(
            values=[v.wide, mb.slice_by_size(x=v.tall, begin=[0, 0, 1, 0], size=[2, 5, 1, 2])],
            equation="nchw,nwhu->nchu",
        ),
        lambda a: np.einsum("nchw,nwu->nchu", a.wide, a.tall[:, :, 1]),
    ),
    Case(
        "scaled_dot_product_attention",
        lambda v: mb.scaled_dot_product_attention(query=v.query, key=v.key, value=v.value),
        lambda a: with_torch(F.scaled_dot_product_attention, a.query, a.key, a.value),
    ),
    Case(
        "scaled_dot_product_attention with a mask",
        lambda v: mb.scaled_dot_product_attention(query=v.query, key=v.key, value=v.value, attn_mask=MASK),
        lambda a: with_torch(F.scaled_dot_product_attention, a.query, a.key, a.value, MASK),
    ),
    Case(
        "scaled_dot_product_attention with a bias",
        lambda v: mb.scaled_dot_product_attention(
            query=v.query,
            key=v.key,
            value=v.value,
            attn_mask=mb.slice_by_size(x=v.x, begin=[0, 0, 0, 0], size=[2, 3, 6, 5]),
        ),
        lambda a: with_torch(F.scaled_dot_product_attention, a.query, a.key, a.value, a.x[:, :3, :6, :5]),
    ),
]

CASES = CONVOLUTIONS + POOLS + NORMALISATIONS + PRODUCTS


@pytest.fixture(scope="module")
def results() -> dict[str, Array]:
    return results_of(CASES, INPUTS, opset="iOS18")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_layer_computes_what_torch_does(case: Case, results: Mapping[str, Array]) -> None:
    check(case, results, INPUTS)
