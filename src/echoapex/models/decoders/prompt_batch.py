"""The prompts of a batch of images, as tensors in model pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor

from echoapex.vocabulary import Structure

NO_STRUCTURE = -1
"""In place of a ``Structure`` where a prompt names none."""


class PointLabel(IntEnum):
    """What a point of a prompt says."""

    PADDING = -1
    NEGATIVE = 0
    POSITIVE = 1
    BOX_FIRST_CORNER = 2
    BOX_LAST_CORNER = 3


class PromptError(ValueError):
    """Prompts that do not fit each other, the image, or the way in which they are to be decoded."""


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
        """The automatic pass: the same structure names for every image, and nothing else."""
        names = torch.tensor([int(structure) for structure in structures], device=device)
        return cls.of_names(names.expand(batch, -1))

    @classmethod
    def of_names(cls, structures: Int[Tensor, "batch prompts"]) -> PromptBatch:
        """Structure names alone, for each image its own; ``NO_STRUCTURE`` fills up."""
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
