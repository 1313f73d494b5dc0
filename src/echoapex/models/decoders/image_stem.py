"""What the patches are too coarse to see: light convolutions on the image itself, at half and quarter resolution."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from echoapex.models.decoders.halving import HalveResolution


class FineFeatures(NamedTuple):
    """Features of the image at two resolutions; pixel ``i`` of the half map lies at input pixel ``2 i + 0.5``."""

    half: Float[Tensor, "batch half_channels half_height half_width"]
    quarter: Float[Tensor, "batch quarter_channels quarter_height quarter_width"]


class ImageStem(nn.Module):
    """Two halvings of the resolution, each followed by a normalisation and a GELU.

    The channels are few because convolutions at these resolutions are what a decoder spends its time on.

    Args:
        in_channels: channels of the image.
        half_channels: channels at half resolution.
        quarter_channels: channels at quarter resolution.
    """

    def __init__(self, in_channels: int, half_channels: int, quarter_channels: int) -> None:
        super().__init__()
        self.to_half = HalveResolution(in_channels, half_channels, kernel=3)
        self.half_norm = nn.GroupNorm(1, half_channels)
        self.to_quarter = HalveResolution(half_channels, quarter_channels)
        self.quarter_norm = nn.GroupNorm(1, quarter_channels)

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> FineFeatures:
        """Features at half and quarter resolution.

        Raises:
            ValueError: height or width is not a multiple of 4.
        """
        height, width = images.shape[2:]
        if height % 4 or width % 4:
            raise ValueError(f"an image of {height} x {width} pixels has no quarter resolution; use multiples of 4")
        half = nn.functional.gelu(self.half_norm(self.to_half(images)))
        quarter = nn.functional.gelu(self.quarter_norm(self.to_quarter(half)))
        return FineFeatures(half, quarter)
