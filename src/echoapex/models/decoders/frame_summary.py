"""What a frame tells of the heart, in one token."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FrameSummary(nn.Module):
    """Sums up the patches of a frame in two ways, joined into one token.

    *What* is there: a few learned queries each pool the patches that answer them. *Where* it is: a few channels of
    every patch keep their place on a small fixed grid, for the size of the ventricle is a matter of extent, which an
    average forgets.

    Args:
        width: length of a patch token.
        dim: length of the summary.
        queries: number of learned queries.
        layout_channels: channels that keep their place.
        layout_side: side of the grid on which they do; other grids are resampled to it.
    """

    def __init__(self, width: int, dim: int, queries: int, layout_channels: int, layout_side: int) -> None:
        super().__init__()
        self.layout_side = layout_side
        # the layers that follow have gains of their own; without gains here, nothing flows back through every patch
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.queries = nn.Linear(width, queries)
        self.layout = nn.Linear(width, layout_channels)
        self.from_pooled = nn.Linear(queries * width, dim)
        self.from_layout = nn.Linear(layout_channels * layout_side * layout_side, dim)

    def forward(self, patches: Float[Tensor, "batch frames patches width"]) -> Float[Tensor, "batch frames dim"]:
        """One token per frame.

        Raises:
            ValueError: the number of patches is not a square.
        """
        side = math.isqrt(patches.shape[2])
        if side * side != patches.shape[2]:
            raise ValueError(f"{patches.shape[2]} patches do not form a square; clips are prepared as square frames")
        normed = self.norm(patches)
        attention = torch.softmax(self.queries(normed).transpose(2, 3), dim=-1)
        pooled = torch.matmul(attention, normed).flatten(2)
        layout = self.layout(normed).flatten(0, 1).transpose(1, 2)
        layout = layout.reshape(*layout.shape[:2], side, side)
        if side != self.layout_side:
            size = (self.layout_side, self.layout_side)
            layout = nn.functional.interpolate(layout.float(), size=size, mode="bilinear", antialias=True)
        layout = layout.reshape(*patches.shape[:2], -1)
        summary: Tensor = self.from_pooled(pooled) + self.from_layout(layout)
        return summary
