"""SPLIT_EINSUM: the UNet's transformer blocks in the form that the Neural Engine runs best.

After the principles in Apple's "Deploying Transformers on the Apple Neural Engine" (2022) and its Stable Diffusion
converter: activations stay channels-first in four dimensions (B, C, 1, S), so that the last axis is the long contiguous
one; linear layers are 1x1 convolutions; each head is computed by itself, in small matrices that fit the engine's cache;
and keys are transposed once where the equation wants them, so that no other copy is made.

The function computed is the one of diffusers' blocks, whose weights these modules take. S is the sequence length
(height times width of the feature map, or 77 tokens), C the channels of all heads together, c those of one head.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from farm.domain import AttentionVariant
from farm.errors import ConversionError


def with_attention(unet: nn.Module, attention: AttentionVariant) -> nn.Module:
    """Gives a UNet the attention that is asked for.

    Args:
        unet: diffusers' `UNet2DConditionModel`; it is left as it is.
        attention: ORIGINAL gives the UNet back. SPLIT_EINSUM gives a copy whose transformer blocks are rewritten, and
            which takes its hidden states as (B, C, 1, 77) rather than (B, 77, C).

    Raises:
        ConversionError: The form is not written here, or the UNet's blocks hold something that it does not cover.
    """
    if attention is AttentionVariant.ORIGINAL:
        return unet
    if attention is not AttentionVariant.SPLIT_EINSUM:
        raise ConversionError(
            f"{attention.value} attention cannot be made here; ask for original or split-einsum",
            attention=attention.value,
        )
    rewritten = copy.deepcopy(unet)
    for module in list(rewritten.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__ == "Transformer2DModel":
                setattr(module, name, SplitEinsumTransformer(child))
    return rewritten


def per_head_attention(query: Tensor, key: Tensor, value: Tensor, heads: int, scale: float) -> Tensor:
    """Attention with one pair of einsums a head.

    Args:
        query: (B, C, 1, S).
        key: (B, C, 1, T).
        value: (B, C, 1, T).
        heads: Into how many equal parts the channels fall.
        scale: Multiplies the products of queries and keys, usually c^-0.5.

    Returns:
        (B, C, 1, S).
    """
    channels = query.shape[1] // heads
    queries = torch.split(query, channels, dim=1)
    keys = torch.split(key.transpose(1, 3), channels, dim=3)
    values = torch.split(value, channels, dim=1)
    outputs = []
    for q, k, v in zip(queries, keys, values, strict=True):
        scores = torch.einsum("bchq,bkhc->bkhq", q, k) * scale
        outputs.append(torch.einsum("bkhq,bchk->bchq", scores.softmax(dim=1), v))
    return torch.cat(outputs, dim=1)


class SplitEinsumTransformer(nn.Module):
    """Stands in for diffusers' `Transformer2DModel`.

    Args:
        source: The module whose weights it takes.
    """

    def __init__(self, source: Any) -> None:
        super().__init__()
        if not source.is_input_continuous:
            raise ConversionError(
                "the UNet's transformers take patches or classes, which SPLIT_EINSUM does not cover; "
                "convert with --attention original"
            )
        self.norm = source.norm
        self.proj_in = _pointwise(source.proj_in)
        self.blocks = nn.ModuleList(SplitEinsumBlock(block) for block in source.transformer_blocks)
        self.proj_out = _pointwise(source.proj_out)

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor, **_options: object) -> tuple[Tensor]:
        """Mixes a feature map (B, C, H, W) with the prompt (B, D, 1, 77), called as diffusers' UNet blocks call it."""
        batch, _, height, width = hidden_states.shape
        mixed = self.proj_in(self.norm(hidden_states)).flatten(2).unsqueeze(2)
        for block in self.blocks:
            mixed = block(mixed, encoder_hidden_states)
        return (self.proj_out(mixed.reshape(batch, -1, height, width)) + hidden_states,)


class SplitEinsumBlock(nn.Module):
    """Stands in for diffusers' `BasicTransformerBlock`: attention to itself, to the prompt, feed-forward.

    Args:
        source: The module whose weights it takes.
    """

    def __init__(self, source: Any) -> None:
        super().__init__()
        if source.norm_type != "layer_norm" or source.only_cross_attention or source.attn2 is None:
            raise ConversionError(
                f"a transformer block with {source.norm_type} normalisation is not one of Stable Diffusion's, "
                "and SPLIT_EINSUM does not cover it; convert with --attention original"
            )
        self.norm1 = ChannelsFirstLayerNorm(source.norm1)
        self.attention1 = SplitEinsumAttention(source.attn1)
        self.norm2 = ChannelsFirstLayerNorm(source.norm2)
        self.attention2 = SplitEinsumAttention(source.attn2)
        self.norm3 = ChannelsFirstLayerNorm(source.norm3)
        self.feed_forward = GatedFeedForward(source.ff)

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Maps (B, C, 1, S) to the same shape under the prompt (B, D, 1, 77)."""
        normed = self.norm1(hidden_states)
        hidden_states = hidden_states + self.attention1(normed, normed)
        hidden_states = hidden_states + self.attention2(self.norm2(hidden_states), encoder_hidden_states)
        result: Tensor = hidden_states + self.feed_forward(self.norm3(hidden_states))
        return result


class SplitEinsumAttention(nn.Module):
    """Stands in for diffusers' `Attention`.

    Args:
        source: The module whose weights it takes.
    """

    def __init__(self, source: Any) -> None:
        super().__init__()
        if source.norm_q is not None or source.added_kv_proj_dim is not None or source.group_norm is not None:
            raise ConversionError(
                "an attention layer with norms or projections of its own is not one of Stable Diffusion's, "
                "and SPLIT_EINSUM does not cover it; convert with --attention original"
            )
        self.heads: int = source.heads
        self.scale: float = source.scale
        self.query = _pointwise(source.to_q)
        self.key = _pointwise(source.to_k)
        self.value = _pointwise(source.to_v)
        self.out = _pointwise(source.to_out[0])

    def forward(self, hidden_states: Tensor, context: Tensor) -> Tensor:
        """Lets (B, C, 1, S) attend to a context (B, D, 1, T)."""
        query, key, value = self.query(hidden_states), self.key(context), self.value(context)
        result: Tensor = self.out(per_head_attention(query, key, value, self.heads, self.scale))
        return result


class GatedFeedForward(nn.Module):
    """Stands in for diffusers' `FeedForward` with its GEGLU gate.

    Args:
        source: The module whose weights it takes.
    """

    def __init__(self, source: Any) -> None:
        super().__init__()
        gate, _dropout, contract = source.net
        if type(gate).__name__ != "GEGLU":
            raise ConversionError(
                f"a feed-forward layer with {type(gate).__name__} is not one of Stable Diffusion's, "
                "and SPLIT_EINSUM does not cover it; convert with --attention original"
            )
        self.expand = _pointwise(gate.proj)
        self.contract = _pointwise(contract)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Maps (B, C, 1, S) to the same shape."""
        content, gate = self.expand(hidden_states).chunk(2, dim=1)
        result: Tensor = self.contract(content * nn.functional.gelu(gate))
        return result


class ChannelsFirstLayerNorm(nn.Module):
    """Layer norm over the channels of (B, C, 1, S).

    Args:
        source: The `nn.LayerNorm` whose weights it takes.
    """

    def __init__(self, source: nn.LayerNorm) -> None:
        super().__init__()
        self.eps = source.eps
        self.weight = nn.Parameter(source.weight.detach().reshape(1, -1, 1, 1))
        self.bias = nn.Parameter(source.bias.detach().reshape(1, -1, 1, 1))

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Normalises each position by itself."""
        centred = hidden_states - hidden_states.mean(dim=1, keepdim=True)
        variance = (centred * centred).mean(dim=1, keepdim=True)
        return centred * (variance + self.eps).rsqrt() * self.weight + self.bias


def _pointwise(layer: nn.Module) -> nn.Conv2d:
    """The 1x1 convolution that computes what a linear layer (or a 1x1 convolution) does, on its weights."""
    weight, bias = layer.get_parameter("weight"), layer.bias
    convolution = nn.Conv2d(weight.shape[1], weight.shape[0], kernel_size=1, bias=bias is not None)
    convolution.weight = nn.Parameter(weight.detach().reshape(*weight.shape[:2], 1, 1))
    if isinstance(bias, Tensor):
        convolution.bias = nn.Parameter(bias.detach())
    return convolution
