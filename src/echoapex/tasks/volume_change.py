"""A teaching aid for the encoder: how the volume of the left ventricle changes between frames of a clip.

It is no application and is not exported. It makes the encoder keep, where the decoder of the ejection fraction reads,
what that decoder needs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from echoapex.data.batch import FrameBatch, standardise
from echoapex.losses.volume_change import volume_change_errors, volume_change_loss
from echoapex.models.decoders.frame_summary import FrameSummary
from echoapex.models.encoder import VisionTransformer
from echoapex.models.tokens import Tokens
from echoapex.tasks.task import Cases, Loss, Task
from echoapex.vocabulary import Structure

_DIM, _QUERIES, _LAYOUT_CHANNELS, _LAYOUT_SIDE = 128, 4, 12, 8
_SEEN_SHARE = 0.002
"""A cavity that covers less of the image cannot be judged."""


class VolumeChange(Task):
    """A small head on the last patch tokens that gives the logarithm of the volume, up to a constant of the clip."""

    def __init__(self, encoder: VisionTransformer, blocks: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.blocks = tuple(blocks)
        self.summary = FrameSummary(encoder.config.width, _DIM, _QUERIES, _LAYOUT_CHANNELS, _LAYOUT_SIDE)
        self.head = nn.Sequential(nn.LayerNorm(_DIM), nn.Linear(_DIM, _DIM), nn.GELU(), nn.Linear(_DIM, 1))

    def loss(self, batch: FrameBatch) -> Loss:
        """Error of the ratio of volumes of frames of one clip."""
        return self.loss_from_tokens(self.encoder.forward_blocks(standardise(batch.pixels), self.blocks), batch)

    def loss_from_tokens(self, tokens: Sequence[Tokens], batch: FrameBatch) -> Loss:
        """The same, given the encoded frames."""
        error = volume_change_loss(self._log_volume(tokens[-1]), batch.relative_volume, batch.clip, _shows_lv(batch))
        return Loss.sum_of([("volume", 1.0, error)])

    @torch.no_grad()
    def cases(self, batch: FrameBatch) -> Cases:
        """The same error of every pair of frames of a held-back clip."""
        return self.cases_from_tokens(self.encoder.forward_blocks(standardise(batch.pixels), self.blocks), batch)

    def cases_from_tokens(self, tokens: Sequence[Tokens], batch: FrameBatch) -> Cases:
        """The same, given the encoded frames."""
        errors = volume_change_errors(self._log_volume(tokens[-1]), batch.relative_volume, batch.clip, _shows_lv(batch))
        return {"volume_change_errors": errors}

    def summarise(self, cases: Cases) -> dict[str, float]:
        """The mean over all pairs; zero without any."""
        errors = cases["volume_change_errors"]
        return {"volume_change_error": errors.mean().item() if len(errors) else 0.0}

    def _log_volume(self, tokens: Tokens) -> Float[Tensor, "batch"]:
        log_volume: Float[Tensor, "batch"] = self.head(self.summary(tokens.patches[:, None])[:, 0])[:, 0]
        return log_volume


def _shows_lv(batch: FrameBatch) -> Bool[Tensor, "batch"]:
    """Whether the cavity of the left ventricle is labelled and large enough to be judged."""
    cavity = (batch.labels == int(Structure.LV_CAVITY)).flatten(1).float().mean(dim=1)
    return (cavity > _SEEN_SHARE) & batch.structure_known[:, Structure.LV_CAVITY - 1]
