"""The two view decoders: a linear one on pooled tokens, and a small one on mask maps.

``LinearViewDecoder`` reads the pooled tokens of the frames of a clip. ``ViewFromMasksDecoder`` reads where the
automatic segmentation found the chambers of a frame. It never sees grey values, so unfamiliar scanners do not mislead
it; wrong masks do.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from echoapex.config import Config
from echoapex.models.encoder import Tokens
from echoapex.vocabulary import Structure, View


class LinearViewConfig(Config):
    """What a linear view decoder is made of: ``width`` is that of the encoder's tokens."""

    width: int = Field(default=192, ge=1)
    classes: int = Field(default=len(View), ge=2)
    dropout: float = Field(default=0.1, ge=0, lt=1)


def pool_frame(tokens: Tokens) -> Float[Tensor, "batch features"]:
    """One vector per image: the class token followed by the mean of the patch tokens, twice the encoder's width.

    Source: the linear evaluation of DINOv2 (Oquab et al., 2023), which concatenates the same two.
    """
    return torch.cat((tokens.class_token, tokens.patches.mean(dim=1)), dim=-1)


class LinearViewDecoder(nn.Module):
    """Normalises the features of every frame, averages them over the clip, and classifies by one linear layer.

    Args:
        config: sizes and dropout.
    """

    def __init__(self, config: LinearViewConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(2 * config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(2 * config.width, config.classes)
        nn.init.trunc_normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)

    @classmethod
    def build(cls, config: LinearViewConfig) -> LinearViewDecoder:
        """A decoder with fresh weights."""
        return cls(config)

    def forward(
        self,
        frame_features: Float[Tensor, "batch frames features"],
        frame_mask: Bool[Tensor, "batch frames"] | None = None,
    ) -> Float[Tensor, "batch classes"]:
        """Logits of the classes, for each clip.

        Args:
            frame_features: of ``pool_frame``, for each frame.
            frame_mask: False for padding frames, which change nothing; ``None`` where all frames are real.

        Raises:
            ValueError: the features have another length than this decoder was built for.
        """
        if frame_features.shape[-1] != 2 * self.config.width:
            raise ValueError(
                f"frame features have length {frame_features.shape[-1]}, this decoder takes {2 * self.config.width}: "
                "give the output of pool_frame from an encoder of the width in its config"
            )
        normed = self.norm(frame_features)
        if frame_mask is None:
            clip_features = normed.mean(dim=1)
        else:
            real = frame_mask[..., None].to(normed.dtype)
            clip_features = (normed * real).sum(dim=1) / real.sum(dim=1).clamp_min(1)
        logits: Tensor = self.classifier(self.dropout(clip_features))
        return logits


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


class ViewFromMasksConfig(Config):
    """What an outline decoder is made of."""

    side: int = Field(default=28, ge=4, multiple_of=4)
    """Cells per side of the maps of structures."""
    structures: int = Field(default=len(Structure), ge=1)
    width: int = Field(default=32, ge=1)
    """Channels of the first convolution; the second has twice as many."""
    classes: int = Field(default=len(View), ge=2)
    dropout: float = Field(default=0.2, ge=0, lt=1)


class ViewFromMasksDecoder(nn.Module):
    """Two convolutions that halve the maps, and one linear layer over all that is left.

    Args:
        config: sizes and dropout.
    """

    def __init__(self, config: ViewFromMasksConfig) -> None:
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
    def build(cls, config: ViewFromMasksConfig) -> ViewFromMasksDecoder:
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
