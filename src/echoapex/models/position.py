"""Where a patch is: a learned table of positions, resampled for any image size, or rotary positions.

Three rules of resampling are in use for weights of the same family, and they differ by up to half the norm of the
position at small grids, so the rule belongs to the weights:

``dinov2``
    DINOv2 without registers: bicubic, the grid enlarged by 0.1 patch when computing the scale, no antialias.
``dinov2_registers``
    DINOv2 with registers and timm: bicubic with antialias. Our own models use it.
``plain``
    bicubic to the exact size without antialias, as the ``transformers`` port of DINOv2 without registers does.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

Grid = tuple[int, int]
PositionInterpolation = Literal["dinov2", "dinov2_registers", "plain"]

_DINOV2_OFFSET = 0.1


def interpolate_positions(
    table: Float[Tensor, "1 positions width"], table_grid: Grid, grid: Grid, rule: PositionInterpolation
) -> Float[Tensor, "1 patches width"]:
    """Resample a row-major table of patch positions from ``table_grid`` to ``grid``, in float32.

    Source: ``interpolate_pos_encoding`` of DINOv2 (Oquab et al., 2023) and its register variant (Darcet et al., 2023).
    """
    if grid == table_grid:
        return table
    width = table.shape[2]
    picture = table.float().reshape(1, *table_grid, width).permute(0, 3, 1, 2)
    if rule == "dinov2":
        scale = [(new + _DINOV2_OFFSET) / old for new, old in zip(grid, table_grid, strict=True)]
        resampled = nn.functional.interpolate(picture, scale_factor=scale, mode="bicubic")
    else:
        resampled = nn.functional.interpolate(
            picture, size=grid, mode="bicubic", antialias=rule == "dinov2_registers", align_corners=False
        )
    return resampled.permute(0, 2, 3, 1).reshape(1, grid[0] * grid[1], width).to(table.dtype)


class PositionTable(nn.Module):
    """One learned position for the class token and one for each patch of a square grid.

    Args:
        width: length of a token.
        side: patches per side of the grid on which the table is learned.
        rule: how the table is resampled to other grids.
    """

    def __init__(self, width: int, side: int, rule: PositionInterpolation) -> None:
        super().__init__()
        self.side = side
        self.rule = rule
        self.class_position = nn.Parameter(torch.zeros(1, 1, width))
        self.patch_positions = nn.Parameter(torch.zeros(1, side * side, width))

    def forward(self, grid: Grid) -> Float[Tensor, "1 patches width"]:
        """The positions of the patches of ``grid``, row by row."""
        return interpolate_positions(self.patch_positions, (self.side, self.side), grid, self.rule)


class Rotation(NamedTuple):
    """Cosines and sines of the angles by which each patch turns its queries and keys."""

    cosines: Float[Tensor, "patches depth"]
    sines: Float[Tensor, "patches depth"]


class RotaryPosition(nn.Module):
    """Rotary positions on the plane, as in DINOv3: half of each head turns with y, half with x.

    Coordinates are patch centres in [-1, 1] over the image, so the angles do not depend on the number of patches.

    Args:
        head_width: length of a query; divisible by 4.
        base: ratio between the slowest and the fastest turning pair, 100 in DINOv3.

    Source: Su et al., "RoFormer", 2021; axial form of Siméoni et al., "DINOv3", 2025.
    """

    def __init__(self, head_width: int, base: float) -> None:
        super().__init__()
        if head_width % 4:
            raise ValueError(f"rotary positions need a head width divisible by 4, got {head_width}; change the heads")
        self.head_width = head_width
        self.base = base

    def frequencies(self, device: torch.device) -> Float[Tensor, "quarter_head"]:
        """Turns per unit of coordinate of each pair, from fast to slow."""
        exponents = torch.arange(self.head_width // 4, dtype=torch.float32, device=device) * (4 / self.head_width)
        frequencies: Tensor = self.base**-exponents
        return frequencies

    def forward(self, grid: Grid, device: torch.device) -> Rotation:
        """The rotation of every patch of ``grid``, row by row, in float32."""
        rows, columns = (
            2 * (torch.arange(count, dtype=torch.float32, device=device) + 0.5) / count - 1 for count in grid
        )
        centres_yx = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(-1, 2)
        turns = (centres_yx[:, :, None] * self.frequencies(device)).flatten(1)
        angles = (2 * math.pi * turns).repeat(1, 2)  # the first and the second half of a head form the pairs
        return Rotation(angles.cos(), angles.sin())


def rotate_patches(
    vectors: Float[Tensor, "batch heads tokens depth"], rotation: Rotation
) -> Float[Tensor, "batch heads tokens depth"]:
    """Turn the last tokens, the patches; class token and registers have no place and stay as they are."""
    first_patch = vectors.shape[2] - rotation.cosines.shape[0]
    unplaced, placed = vectors[:, :, :first_patch], vectors[:, :, first_patch:]
    first, second = placed.chunk(2, dim=-1)
    quarter_turned = torch.cat((-second, first), dim=-1)
    cosines, sines = rotation.cosines.to(vectors.dtype), rotation.sines.to(vectors.dtype)
    return torch.cat((unplaced, placed * cosines + quarter_turned * sines), dim=2)
