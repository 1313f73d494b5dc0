"""Half the resolution without a strided convolution."""

from __future__ import annotations

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
