"""Multi-head self-attention, with the fastest exact kernel for where it runs."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from echoapex.models.position import Rotation, rotate_patches

_SHORT_SEQUENCE = 256


def attend(
    queries: Float[Tensor, "batch heads tokens depth"],
    keys: Float[Tensor, "batch heads tokens depth"],
    values: Float[Tensor, "batch heads tokens depth"],
) -> Float[Tensor, "batch heads tokens depth"]:
    """Scaled dot-product attention of every token to every token.

    The fused kernel is best everywhere but in bf16 on a CPU: there its backward pass is two to seven times slower than
    two matrix products and a softmax, and its forward pass up to 1.6 times for short sequences. Both compute the same
    formula; the plain way needs memory for all pairs of tokens.

    Source: Vaswani et al., "Attention is all you need", 2017, equation 1.
    """
    if queries.device.type == "cpu" and queries.dtype == torch.bfloat16 and _plain_is_faster(queries, keys, values):
        scale = float(queries.shape[-1]) ** -0.5
        weights = torch.softmax((queries * scale) @ keys.transpose(-2, -1), dim=-1)
        return torch.matmul(weights, values)
    return nn.functional.scaled_dot_product_attention(queries, keys, values)


def _plain_is_faster(queries: Tensor, keys: Tensor, values: Tensor) -> bool:
    """For bf16 on a CPU: whenever gradients will be wanted, and for short sequences."""
    trains = torch.is_grad_enabled() and any(part.requires_grad for part in (queries, keys, values))
    return trains or queries.shape[2] <= _SHORT_SEQUENCE


class SelfAttention(nn.Module):
    """Every token looks at every token, in several heads side by side.

    Args:
        width: length of a token.
        heads: number of heads; divides ``width``.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens width"],
        rotation: Rotation | None = None,
        read: Bool[Tensor, "batch tokens"] | None = None,
    ) -> Float[Tensor, "*tokens width"]:
        """Mix the tokens; ``rotation`` turns the queries and keys of the patches by their positions.

        Returns:
            All tokens, or with ``read`` those alone, one after another, ``(read tokens, width)``.
        """
        batch, count, width = tokens.shape
        heads_apart = self.qkv(tokens).reshape(batch, count, 3, self.heads, width // self.heads)
        queries, keys, values = heads_apart.permute(2, 0, 3, 1, 4).unbind(0)
        if rotation is not None:
            queries, keys = rotate_patches(queries, rotation), rotate_patches(keys, rotation)
        mixed = attend(queries, keys, values).transpose(1, 2).reshape(batch, count, width)
        projected: Tensor = self.projection(mixed if read is None else mixed[read])
        return projected
