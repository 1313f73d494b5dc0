"""Prompts as tokens: a structure's name, points and box corners, an earlier mask.

``PromptBatch`` holds the prompts of a batch of images as tensors in model pixels.

Source: Kirillov et al., "Segment anything", 2023, appendix A; the structure name is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from echoapex.models.decoders.mask_decoder import HalveResolution
from echoapex.vocabulary import Structure

NO_STRUCTURE = -1
"""Instead of a ``Structure``, for a prompt without a name."""
Size = tuple[int, int]


class PointLabel(IntEnum):
    """The meaning of a point in a prompt."""

    PADDING = -1
    NEGATIVE = 0
    POSITIVE = 1
    BOX_FIRST_CORNER = 2
    BOX_LAST_CORNER = 3


class PromptError(ValueError):
    """Prompts do not fit each other, the image, or the way of decoding."""


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """Several prompts for each image; each prompt asks for one mask.

    Attributes:
        structures: value of the ``Structure`` that a prompt names, or ``NO_STRUCTURE``.
        points_xy: points in model pixels, centre of the first pixel at (0, 0); there may be none.
        point_labels: the ``PointLabel`` of each point.
        mask_logits: an earlier mask of each prompt, of any size over the whole image; ``None`` where there is none.

    Raises:
        PromptError: shapes do not agree, or a structure or a label does not exist.
    """

    structures: Int[Tensor, "batch prompts"]
    points_xy: Float[Tensor, "batch prompts points 2"]
    point_labels: Int[Tensor, "batch prompts points"]
    mask_logits: Float[Tensor, "batch prompts mask_height mask_width"] | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.structures.shape)
        places = (*self.point_labels.shape, 2)
        if len(shape) != 2 or tuple(self.point_labels.shape[:2]) != shape or tuple(self.points_xy.shape) != places:
            raise PromptError(
                f"structures {shape}, points {tuple(self.points_xy.shape)} and labels {tuple(self.point_labels.shape)} "
                "do not agree; they are (batch, prompts), (batch, prompts, points, 2) and (batch, prompts, points)"
            )
        if self.mask_logits is not None and (self.mask_logits.ndim != 4 or self.mask_logits.shape[:2] != shape):
            raise PromptError(f"{tuple(self.mask_logits.shape)} earlier masks do not fit {shape} prompts")
        known = torch.tensor([NO_STRUCTURE, *Structure], device=self.structures.device)
        if not torch.isin(self.structures, known).all():
            raise PromptError(f"a structure is one of {list(map(int, Structure))} or {NO_STRUCTURE} for none")
        if self.point_labels.numel() and not (self.point_labels.min() >= -1 and self.point_labels.max() <= 3):
            raise PromptError(f"a point label is one of {', '.join(f'{p.value} {p.name.lower()}' for p in PointLabel)}")

    @classmethod
    def of_structures(
        cls, structures: Sequence[Structure], batch: int, device: torch.device | None = None
    ) -> PromptBatch:
        """The prompts of the automatic pass: the same structure names for every image."""
        names = torch.tensor([int(structure) for structure in structures], device=device)
        return cls.of_names(names.expand(batch, -1))

    @classmethod
    def of_names(cls, structures: Int[Tensor, "batch prompts"]) -> PromptBatch:
        """Structure names alone, different for each image; ``NO_STRUCTURE`` is padding."""
        batch, prompts = structures.shape
        return cls(
            structures,
            torch.zeros(batch, prompts, 0, 2, device=structures.device),
            torch.zeros(batch, prompts, 0, dtype=torch.long, device=structures.device),
        )

    @property
    def names_only(self) -> bool:
        """Whether there are neither points nor earlier masks."""
        return self.mask_logits is None and not bool((self.point_labels != PointLabel.PADDING).any())

    def with_masks(self, mask_logits: Float[Tensor, "batch prompts mask_height mask_width"]) -> PromptBatch:
        """The same prompts together with earlier masks."""
        return replace(self, mask_logits=mask_logits)

    def with_points(
        self, points_xy: Float[Tensor, "batch prompts more 2"], point_labels: Int[Tensor, "batch prompts more"]
    ) -> PromptBatch:
        """The same prompts with more points."""
        return replace(
            self,
            points_xy=torch.cat((self.points_xy, points_xy), dim=2),
            point_labels=torch.cat((self.point_labels, point_labels), dim=2),
        )


class PlaceCode(nn.Module):
    """Position code: sines and cosines of random plane waves (random Fourier features).

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
        # positions run from -1 at one edge of the image to 1 at the other, at any resolution
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
    """Turns prompts into tokens.

    Args:
        width: length of a token; even.
        mask_channels: channels of the convolutions that bring an earlier mask to the grid of patches.
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
        """One token per prompt for its structure; row 0 of the table is for no name."""
        names: Tensor = self.structure_names(structures.clamp_min(0))
        return names

    def encode_points(
        self,
        points_xy: Float[Tensor, "*batch points 2"],
        labels: Int[Tensor, "*batch points"],
        size: Size,
    ) -> tuple[Float[Tensor, "*batch points width"], Bool[Tensor, "*batch points"]]:
        """One token per point for its position and label, and which points are real.

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
        """Earlier masks as an addition to the patch tokens.

        The logits are first squashed to -1 .. 1, so that very confident masks do not dominate the image.
        """
        surety = torch.tanh(0.5 * mask_logits[:, None].float())
        fine = nn.functional.interpolate(surety, size=(4 * grid[0], 4 * grid[1]), mode="bilinear", antialias=True)
        encoded: Tensor = self.mask_patches(fine).flatten(2).transpose(1, 2)
        return encoded
