"""What the encoder says of an image: a class token, registers, and one token per patch on a grid."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Tokens:
    """The output of the encoder for a batch of images.

    Attributes:
        class_token: one token for the whole image, ``(batch, width)``.
        registers: scratch tokens without a place in the image, ``(batch, registers, width)``; may be empty.
        patches: one token per patch in row-major order, ``(batch, patches, width)``.
        grid: patches per column and row, ``(height, width)``.

    Raises:
        ValueError: the number of patches is not grid height times grid width.
    """

    class_token: Float[Tensor, "batch width"]
    registers: Float[Tensor, "batch registers width"]
    patches: Float[Tensor, "batch patches width"]
    grid: tuple[int, int]

    def __post_init__(self) -> None:
        height, width = self.grid
        if self.patches.shape[1] != height * width:
            raise ValueError(f"{self.patches.shape[1]} patch tokens do not fill a grid of {height} x {width}")

    def as_map(self) -> Float[Tensor, "batch width grid_height grid_width"]:
        """The patch tokens as an image of features."""
        batch, _, width = self.patches.shape
        return self.patches.transpose(1, 2).reshape(batch, width, *self.grid)
