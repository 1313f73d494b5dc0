"""Batches: the input of one training step, as tensors. All coordinates are in model pixels."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Self

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

_SECOND = {"batch_axis": 1}
"""Examples lie along the second axis."""


class _Batch:
    """Tensors that move to a device together and can be divided into smaller batches."""

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self)}  # type: ignore[arg-type]
        return type(self)(**moved)

    def __len__(self) -> int:
        """Number of examples."""
        first = fields(self)[0]  # type: ignore[arg-type]
        return int(getattr(self, first.name).shape[first.metadata.get("batch_axis", 0)])

    def split(self, parts: int) -> list[Self]:
        """The batch in ``parts`` of equal size, in order.

        Raises:
            ValueError: it cannot be divided evenly.
        """
        chunks: dict[str, tuple[Tensor, ...]] = {}
        for f in fields(self):  # type: ignore[arg-type]
            tensor, axis = getattr(self, f.name), f.metadata.get("batch_axis", 0)
            if tensor.shape[axis] % parts:
                raise ValueError(
                    f"a batch of {tensor.shape[axis]} cannot be divided into {parts} equal parts; "
                    "change train.accumulate or the batch size"
                )
            chunks[f.name] = tensor.chunk(parts, dim=axis)
        return [type(self)(**{name: chunk[part] for name, chunk in chunks.items()}) for part in range(parts)]


@dataclass(frozen=True, eq=False)
class FrameBatch(_Batch):
    """Single frames of any view with the labels that are known.

    Attributes:
        pixels: prepared grey frames.
        view: index into ``View``; -1 unknown.
        labels: ``Structure`` label maps; meaningful where ``structure_known``.
        structure_known: per structure (column ``Structure`` value - 1) whether its label is complete.
        wall_points: x and y of the four wall end points in model pixels, ``WallPoint`` order.
        has_walls: whether the wall points are given.
        clip: number of the clip that a frame belongs to, counted within the batch.
        relative_volume: LV volume over EDV; NaN unknown.
        origin: number of the source that a frame comes from, in a batch of several.
    """

    pixels: UInt8[Tensor, "batch size size"]
    view: Int[Tensor, "batch"]
    labels: UInt8[Tensor, "batch size size"]
    structure_known: Bool[Tensor, "batch structures"]
    wall_points: Float[Tensor, "batch 4 2"]
    has_walls: Bool[Tensor, "batch"]
    clip: Int[Tensor, "batch"]
    relative_volume: Float[Tensor, "batch"]
    origin: Int[Tensor, "batch"]


@dataclass(frozen=True, eq=False)
class MaskMapBatch(_Batch):
    """Mask maps of single frames, as the automatic segmentation drew them.

    Attributes:
        maps: probability of each structure in every cell.
        overlap: predicted IoU of each mask with the truth.
        appearance: logits of the views from the pooled tokens of the same frames.
        view: index into ``View``.
    """

    maps: Float[Tensor, "batch structures side side"]
    overlap: Float[Tensor, "batch structures"]
    appearance: Float[Tensor, "batch views"]
    view: Int[Tensor, "batch"]


@dataclass(frozen=True, eq=False)
class EncodedClipBatch(_Batch):
    """Clips as patch features of a frozen encoder, with the true ejection fraction.

    Attributes:
        patches: features of every frame.
        times_s: frame times from the first frame.
        frame_mask: False for padding.
        ef_percent: NaN where unknown.
        relative_volume: LV volume over EDV per frame; NaN where unknown.
    """

    patches: Float[Tensor, "batch frames patches width"]
    times_s: Float[Tensor, "batch frames"]
    frame_mask: Bool[Tensor, "batch frames"]
    ef_percent: Float[Tensor, "batch"]
    relative_volume: Float[Tensor, "batch frames"]


@dataclass(frozen=True, eq=False)
class PixelClipBatch(_Batch):
    """Clips as frames, for an encoder that learns together with its decoder; labels as in :class:`EncodedClipBatch`."""

    pixels: UInt8[Tensor, "batch frames size size"]
    times_s: Float[Tensor, "batch frames"]
    frame_mask: Bool[Tensor, "batch frames"]
    ef_percent: Float[Tensor, "batch"]
    relative_volume: Float[Tensor, "batch frames"]


@dataclass(frozen=True, eq=False)
class CropBatch(_Batch):
    """Crops of frames without labels, for pretraining.

    Attributes:
        global_crops: large windows of each frame.
        local_crops: small windows of each frame.
        masked: True for the patches of the global crops that are masked for the student, in row-major order.
        rows: numbers of the frames in their source.
    """

    global_crops: UInt8[Tensor, "globals batch side side"] = field(metadata=_SECOND)
    local_crops: UInt8[Tensor, "locals batch small_side small_side"] = field(metadata=_SECOND)
    masked: Bool[Tensor, "globals batch patches"] = field(metadata=_SECOND)
    rows: Int[Tensor, "batch"]


@dataclass(frozen=True, eq=False)
class ProbeBatch(_Batch):
    """Whole frames on which an encoder is evaluated during pretraining.

    Attributes:
        pixels: prepared grey frames.
        view: index into ``View``; -1 unknown.
        clip: number of the clip that a frame belongs to.
    """

    pixels: UInt8[Tensor, "batch size size"]
    view: Int[Tensor, "batch"]
    clip: Int[Tensor, "batch"]
