"""The multiscale decoder: heat maps of the four wall end points, from several depths of the encoder.

Deep tokens tell which wall it is; shallow tokens and the image tell exactly where its border runs. They are combined
from coarse to fine. The position of a peak is refined to a fraction of a pixel.

Sources: Lin et al., "Feature pyramid networks", 2017; with tokens of a plain vision transformer as in Ranftl et al.,
"Vision transformers for dense prediction", 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from echoapex.config import Config
from echoapex.models.decoders.mask_decoder import ImageStem
from echoapex.models.encoder import Tokens

_ROUNDS = 6
HEATMAP_STRIDE = 2
"""Input pixels per heat-map pixel: map pixel ``i`` is centred at input pixel ``2 i + 0.5``."""


def find_peaks(
    heatmaps: Float[Tensor, "batch points height width"], window: float
) -> tuple[Float[Tensor, "batch points 2"], Float[Tensor, "batch points"]]:
    """Sub-pixel centre of the highest peak of each map, and the probability near it.

    Mean shift: starting at the highest pixel, a Gaussian window moves to the centre of mass below it, a few times. A
    fixed window would pull the result towards the highest pixel; the moving one ends on the peak
    itself: for a Gaussian peak of deviation s, each round leaves s^2 / (s^2 + window^2) of the distance.

    Source: Comaniciu and Meer, "Mean shift", 2002, applied to the probabilities of a heat map.

    Args:
        heatmaps: logits; the softmax over a map is its probability.
        window: standard deviation of the window in map pixels.

    Returns:
        x and y in map pixels (centre of the first pixel at 0), and the probability within a radius of one and a half
        windows, 0 to 1.
    """
    height, width = heatmaps.shape[2:]
    probability = torch.softmax(heatmaps.float().flatten(2), dim=-1)
    highest = probability.argmax(dim=-1)
    columns = torch.arange(width, dtype=torch.float32, device=heatmaps.device)
    rows = torch.arange(height, dtype=torch.float32, device=heatmaps.device)
    x, y = (highest % width).float(), (highest // width).float()
    maps = probability.reshape(heatmaps.shape)
    for _ in range(_ROUNDS):
        along_x = torch.exp(-0.5 * ((columns - x[..., None]) / window).square())
        along_y = torch.exp(-0.5 * ((rows - y[..., None]) / window).square())
        by_column = (maps * along_y[..., None]).sum(dim=2) * along_x
        by_row = (maps * along_x[..., None, :]).sum(dim=3) * along_y
        x = (by_column * columns).sum(dim=-1) / by_column.sum(dim=-1)
        y = (by_row * rows).sum(dim=-1) / by_row.sum(dim=-1)
    squared_distance = (rows[:, None] - y[..., None, None]).square() + (columns - x[..., None, None]).square()
    near = squared_distance <= (1.5 * window) ** 2
    return torch.stack((x, y), dim=-1), (maps * near).sum(dim=(2, 3)).clamp(0, 1)


class WallPointConfig(Config):
    """What a wall-point decoder is made of.

    ``width`` is that of the encoder's tokens, ``depths`` how many blocks of it are read, ``dim`` the channels at the
    coarsest resolution; ``window_px`` is how far, in input pixels, a peak is looked at to find its centre.
    """

    width: int = Field(default=192, ge=1)
    depths: int = Field(default=4, ge=1)
    dim: int = Field(default=96, ge=8, multiple_of=8)
    points: int = Field(default=4, ge=1)
    half_channels: int = Field(default=16, ge=1)
    quarter_channels: int = Field(default=32, ge=1)
    image_channels: int = Field(default=1, ge=1)
    window_px: float = Field(default=6.0, gt=0)


class Blend(nn.Module):
    """A 3 x 3 convolution with normalisation and GELU: neighbours talk, channels change."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.GroupNorm(min(8, out_channels), out_channels)

    def forward(
        self, features: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels height width"]:
        """Blended features."""
        return nn.functional.gelu(self.norm(self.convolution(features)))


class WallPointDecoder(nn.Module):
    """Decodes heat maps at half resolution, and from them the wall end points.

    Args:
        config: sizes.
    """

    def __init__(self, config: WallPointConfig) -> None:
        super().__init__()
        self.config = config
        quarter, half = config.quarter_channels, config.half_channels
        self.laterals = nn.ModuleList(nn.Linear(config.width, config.dim) for _ in range(config.depths))
        self.stem = ImageStem(config.image_channels, half, quarter)
        self.at_grid = Blend(config.dim, config.dim)
        self.at_eighth = Blend(config.dim, config.dim // 2)
        self.to_quarter = nn.Conv2d(config.dim // 2, quarter, 1)
        self.at_quarter = Blend(quarter, quarter)
        self.to_half = nn.Conv2d(quarter, half, 1)
        self.at_half = Blend(half, half)
        self.heads = nn.Conv2d(half, config.points, 1)

    @classmethod
    def build(cls, config: WallPointConfig) -> WallPointDecoder:
        """A decoder with fresh weights."""
        return cls(config)

    def forward(
        self, tokens: Sequence[Tokens], images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch points half_height half_width"]:
        """Heat-map logits; the softmax over a map is the probability of the position of its point.

        Args:
            tokens: of the encoder at several depths, shallow first.
            images: what the encoder was given; sides are multiples of 4.

        Raises:
            ValueError: depths or image size do not suit this decoder.
        """
        if len(tokens) != self.config.depths:
            raise ValueError(
                f"got tokens of {len(tokens)} depths, this decoder reads {self.config.depths}; see its config"
            )
        fine = self.stem(images)
        # the upper half of the depths enters on the grid of patches, the lower half one resolution finer
        maps = [
            _as_map(lateral(depth.patches), depth.grid) for lateral, depth in zip(self.laterals, tokens, strict=True)
        ]
        shallow = len(maps) // 2
        coarse = self.at_grid(torch.stack(maps[shallow:]).sum(dim=0))
        joined = coarse + torch.stack(maps[:shallow]).sum(dim=0) if shallow else coarse
        eighth = self.at_eighth(_resize(joined, (2 * joined.shape[2], 2 * joined.shape[3])))
        quarter = self.at_quarter(_resize(self.to_quarter(eighth), fine.quarter.shape[2:]) + fine.quarter)
        half = self.at_half(_resize(self.to_half(quarter), fine.half.shape[2:]) + fine.half)
        heatmaps: Tensor = self.heads(half)
        return heatmaps

    def points(
        self, heatmaps: Float[Tensor, "batch points half_height half_width"]
    ) -> tuple[Float[Tensor, "batch points 2"], Float[Tensor, "batch points"]]:
        """Points in input pixels, and a confidence for each.

        Args:
            heatmaps: logits of ``forward``.

        Returns:
            x and y in input pixels, sub-pixel; and the confidence: the share, 0 to 1, of the point's probability that
            lies within one and a half windows of it.
        """
        centres, confidence = find_peaks(heatmaps.float(), self.config.window_px / HEATMAP_STRIDE)
        return HEATMAP_STRIDE * centres + 0.5 * (HEATMAP_STRIDE - 1), confidence


def _as_map(patches: Tensor, grid: tuple[int, int]) -> Float[Tensor, "batch channels grid_height grid_width"]:
    return patches.transpose(1, 2).reshape(patches.shape[0], -1, *grid)


def _resize(features: Tensor, size: Sequence[int]) -> Tensor:
    return nn.functional.interpolate(features, size=tuple(size), mode="bilinear", align_corners=False)
