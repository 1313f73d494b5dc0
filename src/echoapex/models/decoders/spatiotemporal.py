"""The spatiotemporal decoder: the ejection fraction and the volume curve from the patch tokens of a clip.

Every frame is pooled to one token; a transformer over the frames follows the beat. Its time encoding is in seconds, not
in frames, so it reads clips of any length and frame rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from echoapex.config import Config
from echoapex.models.attention import FeedForward
from echoapex.models.decoders.linear import FrameSummary
from echoapex.models.decoders.mask_decoder import attend_masked

_TYPICAL_EF = 0.55
_LOG_VARIANCE_CENTRE, _LOG_VARIANCE_REACH = 4.0, 4.0
_EXTREME_SHARPNESS = 30.0


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


class ClipConfig(Config):
    """What a spatiotemporal decoder is made of: ``width`` is that of a patch token, ``dim`` that of a frame's."""

    width: int = Field(default=192, ge=1)
    dim: int = Field(default=192, ge=8)
    depth: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    queries: int = Field(default=4, ge=1)
    layout_channels: int = Field(default=12, ge=1)
    layout_side: int = Field(default=8, ge=1)
    shortest_period_s: float = Field(default=0.05, gt=0)
    longest_period_s: float = Field(default=10.0, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)


@dataclass(frozen=True, eq=False)
class ClipPrediction:
    """What a clip says of the left ventricle.

    Attributes:
        ef_percent: ejection fraction, 0 to 100.
        ef_log_variance: natural logarithm of the variance of the error to expect, in squared points, 0 to 8.
        relative_volume: LV volume of each frame over the end-diastolic volume, 0 to 1; meaningless for padding frames.
    """

    ef_percent: Float[Tensor, "batch"]
    ef_log_variance: Float[Tensor, "batch"]
    relative_volume: Float[Tensor, "batch frames"]


class ClipDecoder(nn.Module):
    """Frame summaries, a transformer over time, and two heads: one per frame and one per clip.

    Args:
        config: sizes, periods of the time code, and dropout.

    Raises:
        ValueError: a head would have an odd length, which cannot be turned.
    """

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        if config.dim % (2 * config.heads):
            raise ValueError(f"dim {config.dim} must be a multiple of twice the {config.heads} heads")
        self.config = config
        dim = config.dim
        self.summary = FrameSummary(config.width, dim, config.queries, config.layout_channels, config.layout_side)
        self.time = RotaryTime(dim // config.heads, config.shortest_period_s, config.longest_period_s)
        self.blocks = nn.ModuleList(TemporalBlock(dim, config.heads, config.dropout) for _ in range(config.depth))
        self.norm = nn.LayerNorm(dim)
        self.volume_head = nn.Linear(dim, 1)
        self.clip_query = nn.Linear(dim, 1)
        ef_and_spread = nn.Linear(dim, 2)
        self.ef_head = nn.Sequential(nn.Linear(2 * dim + 2, dim), nn.GELU(), ef_and_spread)
        # a fresh decoder guesses a typical ejection fraction
        with torch.no_grad():
            ef_and_spread.bias.copy_(torch.tensor([math.log(_TYPICAL_EF / (1 - _TYPICAL_EF)), 0.0]))

    @classmethod
    def build(cls, config: ClipConfig) -> ClipDecoder:
        """A decoder with fresh weights."""
        return cls(config)

    def forward(
        self,
        patches: Float[Tensor, "batch frames patches width"],
        times_s: Float[Tensor, "batch frames"],
        frame_mask: Bool[Tensor, "batch frames"] | None = None,
    ) -> ClipPrediction:
        """Read clips.

        Args:
            patches: patch tokens of every frame, on a square grid.
            times_s: time of every frame in seconds, from any origin.
            frame_mask: False for padding frames, which change nothing; ``None`` where all frames are real. The first
                frame of a clip is real.

        Raises:
            ValueError: the patches do not form a square, or there are not as many times as frames.
        """
        if patches.shape[:2] != times_s.shape:
            raise ValueError(f"{tuple(times_s.shape)} times do not fit {tuple(patches.shape[:2])} frames")
        frames = self.summary(patches)
        rotation = self.time(times_s)
        for block in self.blocks:
            frames = block(frames, rotation, frame_mask)
        frames = self.norm(frames)
        relative_volume = torch.sigmoid(self.volume_head(frames)[..., 0].float())
        clip = torch.cat((self._pool(frames, frame_mask), _soft_extremes(relative_volume, frame_mask)), dim=-1)
        ef, spread = self.ef_head(clip).float().unbind(dim=-1)
        log_variance = _LOG_VARIANCE_CENTRE + _LOG_VARIANCE_REACH * torch.tanh(spread / _LOG_VARIANCE_REACH)
        return ClipPrediction(100 * torch.sigmoid(ef), log_variance, relative_volume)

    def _pool(self, frames: Tensor, frame_mask: Tensor | None) -> Float[Tensor, "batch features"]:
        """The frames that a learned query finds telling, beside the mean of all."""
        scores = self.clip_query(frames)[..., 0].float()
        real = torch.ones_like(scores) if frame_mask is None else frame_mask.float()
        telling = torch.softmax(scores.masked_fill(real == 0, torch.finfo(torch.float32).min), dim=-1)
        mean = real / real.sum(dim=-1, keepdim=True).clamp_min(1)
        weights = torch.stack((telling, mean), dim=1).to(frames.dtype)
        return torch.matmul(weights, frames).flatten(1)


def _soft_extremes(
    relative_volume: Float[Tensor, "batch frames"], frame_mask: Bool[Tensor, "batch frames"] | None
) -> Float[Tensor, "batch 2"]:
    """Smooth smallest and largest volume of each clip: the ejection fraction as the curve itself tells it."""
    sharp = _EXTREME_SHARPNESS * relative_volume
    hidden = torch.finfo(torch.float32).min
    extremes = []
    for signed in (-sharp, sharp):
        scores = signed if frame_mask is None else signed.masked_fill(~frame_mask, hidden)
        extremes.append((torch.softmax(scores, dim=-1) * relative_volume).sum(dim=-1))
    return torch.stack(extremes, dim=-1)
