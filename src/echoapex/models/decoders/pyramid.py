"""A small U-shaped network that combines patch tokens and image pixels into fine features.

Patch tokens know the structures but not their exact edges; light convolutions on the image at half and quarter
resolution see edges but not whose they are. Both are combined at an eighth and a quarter of the resolution, once per
image and for all prompts, so that the pass of each prompt stays light. The stem halves the resolution without a strided
convolution.

Source: the U shape is that of Ronneberger et al., "U-Net", 2015; a plain vision transformer as its deep path follows
Hatamizadeh et al., "UNETR", 2022.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from jaxtyping import Float
from torch import Tensor, nn


class HalveResolution(nn.Module):
    """Each two by two cell becomes one pixel with four times the channels; a convolution then mixes them.

    A strided convolution computes the same, but its backward pass in bf16 on a CPU is ten times slower. The cells tile
    the image, so that output pixel ``i`` is centred at input pixel ``2 i + 0.5``.

    Args:
        in_channels: channels before.
        out_channels: channels after.
        kernel: size of the convolution in output pixels; odd.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4 * in_channels, out_channels, kernel, padding=kernel // 2)

    def forward(
        self, features: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels half_height half_width"]:
        """Features at half the height and width, both of which are even."""
        mixed: Tensor = self.mix(nn.functional.pixel_unshuffle(features, 2))
        return mixed


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


class ResidualConvolutions(nn.Module):
    """Two convolutions beside an identity; the second starts at zero, so that the block starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.mix = nn.Conv2d(channels, channels, 3, padding=1)
        self.out = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(cast(Tensor, self.out.bias))

    def forward(self, features: Float[Tensor, "images channels rows columns"]) -> Tensor:
        """Features of the same shape."""
        changed: Tensor = features + self.out(nn.functional.gelu(self.mix(self.norm(features))))
        return changed


class FinePyramid(nn.Module):
    """Adds to the fine features of an image what its patches say about them.

    It starts as the identity: a decoder that was trained without it can be given one and goes on where it stood.

    Args:
        dim: length of a patch token.
        half_channels: channels at half resolution.
        quarter_channels: channels at quarter resolution; an eighth has twice as many.
        blocks: residual blocks at each of the three stations (an eighth, and a quarter before and after it).
    """

    def __init__(self, dim: int, half_channels: int, quarter_channels: int, blocks: int) -> None:
        super().__init__()
        eighth_channels = 2 * quarter_channels
        self.before = _stack(quarter_channels, blocks)
        self.to_eighth = HalveResolution(quarter_channels, eighth_channels)
        self.from_patches = nn.Conv2d(dim, eighth_channels, 1)
        self.eighth = _stack(eighth_channels, blocks)
        self.to_quarter = nn.Conv2d(eighth_channels, 4 * quarter_channels, 1)
        self.after = _stack(quarter_channels, blocks)
        self.norm = nn.GroupNorm(1, quarter_channels)
        self.quarter_out = nn.Conv2d(quarter_channels, quarter_channels, 1)
        self.half_out = nn.Conv2d(quarter_channels, 4 * half_channels, 1)
        for last in (self.quarter_out, self.half_out):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(cast(Tensor, last.bias))

    def forward(
        self, fine: FineFeatures, patches: Float[Tensor, "images patches dim"], grid: tuple[int, int]
    ) -> FineFeatures:
        """The fine features of the same images, sharpened.

        Args:
            fine: of the image stem; the quarter resolution has even sides.
            patches: one token per patch, row by row.
            grid: patches per column and row.

        Raises:
            ValueError: a side of the image is not a multiple of 8.
        """
        height, width = fine.quarter.shape[2:]
        if height % 2 or width % 2:
            raise ValueError(f"an image of {4 * height} x {4 * width} pixels has no eighth; use multiples of 8")
        quarter: Tensor = self.before(fine.quarter)
        eighth = self.to_eighth(quarter)
        cells = self.from_patches(patches.transpose(1, 2).reshape(*patches.shape[::2], *grid))
        eighth = self.eighth(eighth + nn.functional.interpolate(cells, size=eighth.shape[2:], mode="bilinear"))
        quarter = self.after(quarter + nn.functional.pixel_shuffle(self.to_quarter(eighth), 2))
        quarter = nn.functional.gelu(self.norm(quarter))
        half = nn.functional.pixel_shuffle(self.half_out(quarter), 2)
        return FineFeatures(fine.half + half, fine.quarter + self.quarter_out(quarter))


def _stack(channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualConvolutions(channels) for _ in range(blocks)))
