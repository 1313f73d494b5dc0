"""Prompts to tokens: a structure's name, points and box corners, an earlier mask.

Source: Kirillov et al., "Segment anything", 2023, appendix A; the structure name is ours.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from echoapex.models.decoders.halving import HalveResolution
from echoapex.models.decoders.prompt_batch import PointLabel
from echoapex.vocabulary import Structure

Size = tuple[int, int]


class PlaceCode(nn.Module):
    """Places in the image as sines and cosines of random plane waves.

    The waves are drawn once and kept with the weights; they are not trained.

    Source: Tancik et al., "Fourier features let networks learn high frequency functions", 2020.

    Args:
        width: length of the code; even.
    """

    waves: Float[Tensor, "2 half_width"]

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("waves", torch.randn(2, width // 2))

    def forward(self, points_xy: Float[Tensor, "*batch 2"], size: Size) -> Float[Tensor, "*batch width"]:
        """Code of points in pixels of an image of ``size`` (height, width); pixel centres are whole numbers."""
        height, width = size
        sides = torch.tensor([width, height], dtype=torch.float32, device=points_xy.device)
        # a place says -1 at one edge of the image and 1 at the other, whatever its resolution
        place = 2 * (points_xy.float() + 0.5) / sides - 1
        with torch.autocast(device_type=points_xy.device.type, enabled=False):
            phase = 2 * math.pi * (place @ self.waves.float())
        return torch.cat((phase.sin(), phase.cos()), dim=-1)

    def of_grid(self, grid: Size) -> Float[Tensor, "patches width"]:
        """Code of the centres of a grid of patches, row by row."""
        rows, columns = torch.meshgrid(
            torch.arange(grid[0], device=self.waves.device),
            torch.arange(grid[1], device=self.waves.device),
            indexing="ij",
        )
        code: Tensor = self(torch.stack((columns, rows), dim=-1).reshape(-1, 2).float(), grid)
        return code


class PromptEncoder(nn.Module):
    """Makes tokens of prompts.

    Args:
        width: length of a token; even.
        mask_channels: channels while an earlier mask is brought to the grid of patches.
    """

    def __init__(self, width: int, mask_channels: int) -> None:
        super().__init__()
        self.place = PlaceCode(width)
        self.structure_names = nn.Embedding(len(Structure) + 1, width)
        self.point_kinds = nn.Embedding(len(PointLabel) - 1, width)
        self.no_mask = nn.Parameter(torch.zeros(width))
        self.mask_patches = nn.Sequential(
            HalveResolution(1, mask_channels),
            nn.GroupNorm(1, mask_channels),
            nn.GELU(),
            HalveResolution(mask_channels, width),
        )
        nn.init.normal_(self.structure_names.weight, std=0.5)
        nn.init.normal_(self.point_kinds.weight, std=0.5)

    def encode_names(self, structures: Int[Tensor, "batch prompts"]) -> Float[Tensor, "batch prompts width"]:
        """One token per prompt: which structure is meant; row 0 of the table stands for none."""
        names: Tensor = self.structure_names(structures.clamp_min(0))
        return names

    def encode_points(
        self,
        points_xy: Float[Tensor, "*batch points 2"],
        labels: Int[Tensor, "*batch points"],
        size: Size,
    ) -> tuple[Float[Tensor, "*batch points width"], Bool[Tensor, "*batch points"]]:
        """One token per point: where it is and what it says; and which points are real.

        Args:
            points_xy: in pixels of the image.
            labels: ``PointLabel`` values.
            size: height and width of the image.
        """
        tokens = self.place(points_xy, size) + self.point_kinds(labels.clamp_min(0))
        return tokens, labels != PointLabel.PADDING

    def encode_masks(
        self, mask_logits: Float[Tensor, "masks mask_height mask_width"], grid: Size
    ) -> Float[Tensor, "masks patches width"]:
        """Earlier masks as something to add to the patch tokens.

        The logits are first squashed to -1 .. 1, so that a very sure mask does not outshout the image.
        """
        surety = torch.tanh(0.5 * mask_logits[:, None].float())
        fine = nn.functional.interpolate(surety, size=(4 * grid[0], 4 * grid[1]), mode="bilinear", antialias=True)
        encoded: Tensor = self.mask_patches(fine).flatten(2).transpose(1, 2)
        return encoded
