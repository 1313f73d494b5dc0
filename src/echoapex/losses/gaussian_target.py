"""The heat map that a point should have."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def gaussian_target(
    centres_xy: Float[Tensor, "*batch 2"], size: tuple[int, int], sigma: float
) -> Float[Tensor, "*batch height width"]:
    """Gaussians around sub-pixel centres, each summing to one over the map.

    Args:
        centres_xy: in map pixels, centre of the first pixel at (0, 0).
        size: height and width of the map.
        sigma: standard deviation in map pixels.
    """
    height, width = size
    columns = torch.arange(width, dtype=torch.float32, device=centres_xy.device)
    rows = torch.arange(height, dtype=torch.float32, device=centres_xy.device)
    # a softmax of the exponents cannot underflow to an empty row, however far the centre is
    along_x = torch.softmax(-0.5 * ((columns - centres_xy[..., :1]) / sigma).square(), dim=-1)
    along_y = torch.softmax(-0.5 * ((rows - centres_xy[..., 1:]) / sigma).square(), dim=-1)
    return along_y[..., :, None] * along_x[..., None, :]
