"""SPLIT_EINSUM computes what diffusers' blocks compute, and the comparison would notice if it did not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from farm.convert.attention import (
    ChannelsFirstLayerNorm,
    SplitEinsumAttention,
    SplitEinsumTransformer,
    per_head_attention,
    with_attention,
)
from farm.convert.check import TOLERANCE, relative_difference
from farm.domain import AttentionVariant
from farm.errors import ConversionError
from tests.convert.checkpoints import sharpened, small_unet

EXACT = 1e-5


def difference_after(unet: Any, change: Callable[[Any], None] = lambda _: None) -> float:
    """How far the rewritten UNet, after a change to it, lies from the one that it was made of."""
    split = with_attention(unet, AttentionVariant.SPLIT_EINSUM)
    change(split)
    torch.manual_seed(1)
    size, width = unet.config.sample_size, unet.config.cross_attention_dim
    sample, steps, hidden = torch.randn(2, 4, size, size), torch.tensor([700.0, 3.0]), torch.randn(2, width, 1, 77)
    with torch.no_grad():
        expected = unet(sample, steps, hidden.squeeze(2).transpose(1, 2), return_dict=False)[0]
        found = split(sample, steps, hidden, return_dict=False)[0]
    return relative_difference(found.numpy(), expected.numpy())


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="Stable Diffusion 1.x"),
        pytest.param({"use_linear_projection": True, "upcast_attention": True}, id="Stable Diffusion 2.x"),
        pytest.param({"transformer_layers_per_block": 2, "attention_head_dim": 8}, id="two blocks, eight heads"),
        pytest.param({"attention_head_dim": 1}, id="one head"),
        pytest.param(
            {
                "block_out_channels": (16, 32),
                "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
                "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            },
            id="a level without attention",
        ),
    ],
)
def test_the_rewritten_unet_computes_the_same_function(options: dict[str, Any]) -> None:
    assert difference_after(small_unet(**options)) < EXACT


def attentions(unet: Any) -> list[SplitEinsumAttention]:
    return [module for module in unet.modules() if isinstance(module, SplitEinsumAttention)]


def use_wrong_scale(unet: Any) -> None:
    for attention in attentions(unet):
        attention.scale = 1.0


def use_wrong_number_of_heads(unet: Any) -> None:
    for attention in attentions(unet):
        attention.heads = 2


def drop_a_head(unet: Any) -> None:
    for attention in attentions(unet):
        with torch.no_grad():
            attention.out.weight[:, : attention.out.in_channels // attention.heads] = 0


def swap_keys_and_values(unet: Any) -> None:
    for attention in attentions(unet):
        attention.key, attention.value = attention.value, attention.key


def forget_a_layer_norm(unet: Any) -> None:
    for module in unet.modules():
        if isinstance(module, ChannelsFirstLayerNorm):
            module.eps = 10.0


@pytest.mark.parametrize(
    "mistake", [use_wrong_scale, use_wrong_number_of_heads, drop_a_head, swap_keys_and_values, forget_a_layer_norm]
)
def test_each_usual_mistake_goes_beyond_the_tolerance(mistake: Callable[[Any], None]) -> None:
    unet = sharpened(small_unet())

    assert difference_after(unet) < EXACT
    assert difference_after(unet, mistake) > TOLERANCE


@settings(max_examples=25)
@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 4),
    channels=st.integers(1, 6),
    queries=st.integers(1, 9),
    keys=st.integers(1, 9),
    seed=st.integers(0, 1000),
)
def test_attention_by_heads_is_scaled_dot_product_attention(
    batch: int, heads: int, channels: int, queries: int, keys: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def noise(length: int) -> Tensor:
        return torch.randn(batch, heads * channels, 1, length, generator=generator)

    def by_heads(tensor: Tensor) -> Tensor:
        return tensor.reshape(batch, heads, channels, -1).transpose(2, 3)

    query, key, value = noise(queries), noise(keys), noise(keys)
    found = per_head_attention(query, key, value, heads, channels**-0.5)
    expected = torch.nn.functional.scaled_dot_product_attention(by_heads(query), by_heads(key), by_heads(value))
    torch.testing.assert_close(by_heads(found), expected, rtol=1e-4, atol=1e-5)


def test_the_unet_that_is_rewritten_stays_as_it_was() -> None:
    unet = small_unet()
    before = {name: weight.clone() for name, weight in unet.state_dict().items()}
    split = with_attention(unet, AttentionVariant.SPLIT_EINSUM)

    assert sum(isinstance(module, SplitEinsumTransformer) for module in split.modules()) == 4
    assert not any(isinstance(module, SplitEinsumTransformer) for module in unet.modules())
    assert unet.state_dict().keys() == before.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in unet.state_dict().items())
    assert with_attention(unet, AttentionVariant.ORIGINAL) is unet


def test_no_linear_layer_and_no_layer_norm_is_left_in_the_transformers() -> None:
    split = with_attention(small_unet(), AttentionVariant.SPLIT_EINSUM)

    for transformer in split.modules():
        if isinstance(transformer, SplitEinsumTransformer):
            kinds = {type(module) for module in transformer.modules()}
            assert not kinds & {torch.nn.Linear, torch.nn.LayerNorm}


def test_a_form_that_is_not_written_is_refused() -> None:
    with pytest.raises(ConversionError, match="SPLIT_EINSUM_V2 attention cannot be made here"):
        with_attention(small_unet(), AttentionVariant.SPLIT_EINSUM_V2)


def test_blocks_that_are_not_stable_diffusion_s_are_refused() -> None:
    with pytest.raises(ConversionError, match="convert with --attention original"):
        with_attention(small_unet(only_cross_attention=True), AttentionVariant.SPLIT_EINSUM)
