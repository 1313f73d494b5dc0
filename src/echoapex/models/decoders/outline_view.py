"""The outline decoder: which view a frame shows, from where its automatic outlines say that the chambers lie.

It never sees grey values, so that a scanner whose images look like none it was taught does not mislead it; what
misleads the outlines does.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from echoapex.config import Config
from echoapex.vocabulary import Structure, View


class OutlineViewConfig(Config):
    """What an outline decoder is made of."""

    side: int = Field(default=28, ge=4, multiple_of=4)
    """Cells per side of the maps of structures."""
    structures: int = Field(default=len(Structure), ge=1)
    width: int = Field(default=32, ge=1)
    """Channels of the first convolution; the second has twice as many."""
    classes: int = Field(default=len(View), ge=2)
    dropout: float = Field(default=0.2, ge=0, lt=1)


class OutlineViewDecoder(nn.Module):
    """Two convolutions that halve the maps, and one linear layer over all that is left.

    Args:
        config: sizes and dropout.
    """

    def __init__(self, config: OutlineViewConfig) -> None:
        super().__init__()
        self.config = config
        cells = (config.side // 4) ** 2
        self.features = nn.Sequential(
            nn.Conv2d(config.structures, config.width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(config.width, 2 * config.width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Flatten(),
            nn.Dropout(config.dropout),
        )
        self.classifier = nn.Linear(2 * config.width * cells + config.structures, config.classes)

    @classmethod
    def build(cls, config: OutlineViewConfig) -> OutlineViewDecoder:
        """A decoder with fresh weights."""
        return cls(config)

    def forward(
        self,
        maps: Float[Tensor, "batch structures side side"],
        overlap: Float[Tensor, "batch structures"],
    ) -> Float[Tensor, "batch classes"]:
        """Logits of the classes, for each frame.

        Args:
            maps: probability of each structure in every cell.
            overlap: that the segmentation predicts of its masks with the truth (IoU).

        Raises:
            ValueError: the maps have another shape than this decoder was built for.
        """
        wanted = (self.config.structures, self.config.side, self.config.side)
        if tuple(maps.shape[1:]) != wanted:
            raise ValueError(f"maps of {tuple(maps.shape[1:])}; this decoder takes {wanted} (structures, side, side)")
        logits: Tensor = self.classifier(torch.cat((self.features(maps), overlap), dim=1))
        return logits
