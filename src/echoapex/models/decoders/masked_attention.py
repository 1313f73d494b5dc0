"""Attention that leaves out what is only padding."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def attend_masked(
    queries: Float[Tensor, "batch heads queries depth"],
    keys: Float[Tensor, "batch heads keys depth"],
    values: Float[Tensor, "batch heads keys depth"],
    key_mask: Bool[Tensor, "batch keys"] | None,
) -> Float[Tensor, "batch heads queries depth"]:
    """Scaled dot-product attention to the keys where ``key_mask`` is True.

    Written as two matrix products and a softmax: the decoders have few tokens, and the backward pass of the fused
    kernel is slow in bf16 on a CPU. Where no key of a row is real, all of them count alike, so that no NaN arises.

    Source: Vaswani et al., "Attention is all you need", 2017, equation 1.
    """
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)
    if key_mask is not None:
        scores = scores.masked_fill(~key_mask[:, None, None, :], torch.finfo(scores.dtype).min)
    return torch.matmul(torch.softmax(scores, dim=-1).to(values.dtype), values)


class MaskedAttention(nn.Module):
    """Multi-head attention of one set of tokens to another.

    Args:
        width: length of the tokens, in and out.
        heads: number of heads; divides ``inner_width``.
        inner_width: total length of the queries over all heads; ``None`` is ``width``.
    """

    def __init__(self, width: int, heads: int, inner_width: int | None = None) -> None:
        super().__init__()
        inner_width = inner_width or width
        self.heads = heads
        self.query = nn.Linear(width, inner_width)
        self.key = nn.Linear(width, inner_width)
        self.value = nn.Linear(width, inner_width)
        self.projection = nn.Linear(inner_width, width)

    def forward(
        self,
        queries: Float[Tensor, "batch queries width"],
        keys: Float[Tensor, "batch keys width"],
        values: Float[Tensor, "batch keys width"],
        key_mask: Bool[Tensor, "batch keys"] | None = None,
    ) -> Float[Tensor, "batch queries width"]:
        """Mix the values by how well the keys answer each query."""
        mixed = attend_masked(
            self._heads_apart(self.query(queries)),
            self._heads_apart(self.key(keys)),
            self._heads_apart(self.value(values)),
            key_mask,
        )
        projected: Tensor = self.projection(mixed.transpose(1, 2).flatten(2))
        return projected

    def _heads_apart(self, tokens: Tensor) -> Float[Tensor, "batch heads tokens depth"]:
        batch, count, width = tokens.shape
        return tokens.reshape(batch, count, self.heads, width // self.heads).transpose(1, 2)
