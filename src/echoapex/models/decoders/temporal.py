"""A transformer over the frames of a clip in which time is measured in seconds, not in frames."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from echoapex.models.block import FeedForward
from echoapex.models.decoders.masked_attention import attend_masked


class TimeRotation(NamedTuple):
    """Cosines and sines of the angles by which each frame turns its queries and keys."""

    cosines: Float[Tensor, "batch 1 frames half_depth"]
    sines: Float[Tensor, "batch 1 frames half_depth"]

    def turn(self, tokens: Float[Tensor, "batch heads frames depth"]) -> Float[Tensor, "batch heads frames depth"]:
        """Turn the two halves of each token into each other."""
        first, second = tokens.chunk(2, dim=-1)
        cosines, sines = self.cosines.to(tokens.dtype), self.sines.to(tokens.dtype)
        return torch.cat((first * cosines - second * sines, first * sines + second * cosines), dim=-1)


class RotaryTime(nn.Module):
    """Sinusoids of the time in seconds, applied as rotations.

    The product of a turned query and a turned key depends on the time *between* two frames only. Hence the frame rate
    may be any, frames may be missing, and nothing changes when all times are shifted. Periods are a geometric series.

    Source: Su et al., "RoFormer", 2021, with continuous positions.

    Args:
        depth: length of a query of one head; even.
        shortest_s: shortest period in seconds, of the order of a frame.
        longest_s: longest period in seconds, several heart beats.
    """

    angular_frequencies: Float[Tensor, "half_depth"]

    def __init__(self, depth: int, shortest_s: float, longest_s: float) -> None:
        super().__init__()
        periods_s = torch.logspace(math.log10(shortest_s), math.log10(longest_s), depth // 2)
        self.register_buffer("angular_frequencies", 2 * math.pi / periods_s, persistent=False)

    def forward(self, times_s: Float[Tensor, "batch frames"]) -> TimeRotation:
        """The rotation of each frame."""
        # seen from the first frame, so that a late start costs no precision
        elapsed_s = times_s.float() - times_s[:, :1].float()
        angles = (elapsed_s[..., None] * self.angular_frequencies.float())[:, None]
        return TimeRotation(angles.cos(), angles.sin())


class TemporalBlock(nn.Module):
    """A pre-norm transformer block whose attention knows time and ignores padding frames.

    Args:
        dim: length of a token.
        heads: number of attention heads; divides ``dim``.
        dropout: share of each residual branch left out in training.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.projection = nn.Linear(dim, dim)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        frames: Float[Tensor, "batch frames dim"],
        rotation: TimeRotation,
        frame_mask: Bool[Tensor, "batch frames"] | None,
    ) -> Float[Tensor, "batch frames dim"]:
        """Let the frames look at each other, then think each for itself."""
        apart = self.qkv(self.attention_norm(frames)).reshape(*frames.shape[:2], 3, self.heads, -1)
        queries, keys, values = apart.permute(2, 0, 3, 1, 4).unbind(0)
        seen = attend_masked(rotation.turn(queries), rotation.turn(keys), values, frame_mask)
        frames = frames + self.dropout(self.projection(seen.transpose(1, 2).flatten(2)))
        after: Tensor = frames + self.dropout(self.feed_forward(self.feed_forward_norm(frames)))
        return after
