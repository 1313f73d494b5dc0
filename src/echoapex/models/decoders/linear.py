"""The linear decoder: which view a clip shows, from the pooled tokens of its frames."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from echoapex.config import Config
from echoapex.models.tokens import Tokens
from echoapex.vocabulary import View


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
