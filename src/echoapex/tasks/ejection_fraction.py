"""Application 4: the ejection fraction of a clip, with the curve of the LV volume.

An auxiliary loss for the encoder predicts how the LV volume changes between frames of a clip. It is no application and
is not exported. It makes the encoder keep the information that the decoder of the ejection fraction needs, at the depth
where that decoder reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from echoapex.data.batch import EncodedClipBatch, FrameBatch, PixelClipBatch
from echoapex.losses.supervised import ef_loss, volume_change_errors, volume_change_loss
from echoapex.models.adapters import Adapter
from echoapex.models.decoders.linear import FrameSummary
from echoapex.models.decoders.spatiotemporal import ClipDecoder, ClipPrediction
from echoapex.models.encoder import EncodedClip, Tokens, VisionTransformer, standardise
from echoapex.tasks.task import Cases, FrameTask, Loss, Task
from echoapex.vocabulary import Structure

_DIM, _QUERIES, _LAYOUT_CHANNELS, _LAYOUT_SIDE = 128, 4, 12, 8
_SEEN_SHARE = 0.002
"""Smallest share of the image that the cavity must cover; smaller ones are ignored."""


@dataclass(frozen=True, eq=False)
class EfPrediction:
    """Ejection fraction in percent with a 95 % interval, and the LV volume of each frame over the largest."""

    ef_percent: float
    interval: tuple[float, float]
    relative_volume: Float[np.ndarray, "frames"]


class EjectionFraction(Task):
    """A temporal decoder over the patch tokens of an encoder, frozen unless a recipe trains it or an adapter."""

    def __init__(
        self,
        encoder: VisionTransformer,
        decoder: ClipDecoder,
        blocks: Sequence[int],
        interval_factor: float = 1.0,
    ) -> None:
        """``interval_factor`` (from the card) scales the predicted deviation to the errors seen in validation."""
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.decoder = decoder
        self.blocks = tuple(blocks)
        self.interval_factor = interval_factor
        self.adapter: Adapter | None = None
        """What learns in place of the encoder, attached to it."""

    def _decode(self, batch: EncodedClipBatch | PixelClipBatch) -> ClipPrediction:
        patches = batch.patches if isinstance(batch, EncodedClipBatch) else self._encode(batch)
        prediction: ClipPrediction = self.decoder(patches, batch.times_s, batch.frame_mask)
        return prediction

    def _encode(self, batch: PixelClipBatch) -> Float[Tensor, "batch frames patches width"]:
        images = standardise(batch.pixels.flatten(0, 1))
        patches = self.encoder.forward_blocks(images, self.blocks)[-1].patches
        return patches.reshape(*batch.pixels.shape[:2], *patches.shape[1:])

    def encoder_and_adapter(self) -> tuple[nn.Module | None, nn.Module | None]:
        """The encoder, and the adapter where one learns in its place."""
        return self.encoder, self.adapter

    def loss(self, batch: EncodedClipBatch | PixelClipBatch) -> Loss:
        """Loss of ejection fraction and volume curve."""
        return Loss.sum_of([("ef", 1.0, ef_loss(self._decode(batch), batch.ef_percent, batch.relative_volume))])

    @torch.no_grad()
    def cases(self, batch: EncodedClipBatch | PixelClipBatch) -> Cases:
        """Error in points, and predicted deviation, of the clips whose ejection fraction is known."""
        prediction = self._decode(batch)
        known = torch.isfinite(batch.ef_percent)
        return {
            "ef_error": (prediction.ef_percent - batch.ef_percent)[known],
            "ef_deviation": prediction.ef_log_variance[known].mul(0.5).exp(),
        }

    def summarise(self, cases: Cases) -> dict[str, float]:
        """Mean absolute error in points, and the ratio of squared error to predicted variance."""
        error, deviation = cases["ef_error"], cases["ef_deviation"]
        if not len(error):
            return {}
        return {
            "ef_mae": error.abs().mean().item(),
            "ef_squared_error_over_variance": (error / deviation).square().mean().item(),
        }

    @torch.inference_mode()
    def predict(self, encoded: EncodedClip) -> EfPrediction:
        """Ejection fraction of a whole clip."""
        patches = encoded.tokens[-1].patches.float()[None]
        times = (encoded.times_s - encoded.times_s[0])[None]
        mask = torch.ones(times.shape, dtype=torch.bool, device=times.device)
        prediction: ClipPrediction = self.decoder(patches, times, mask)
        ef = float(prediction.ef_percent[0].clamp(0, 100))
        margin = 1.96 * self.interval_factor * float(prediction.ef_log_variance[0].mul(0.5).exp())
        curve = prediction.relative_volume[0].double().cpu().numpy()
        return EfPrediction(ef, (max(0.0, ef - margin), min(100.0, ef + margin)), curve / curve.max())


class VolumeChange(FrameTask):
    """A small head on the last patch tokens that predicts the logarithm of the volume, up to a constant per clip."""

    def __init__(self, encoder: VisionTransformer, blocks: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.blocks = tuple(blocks)
        self.summary = FrameSummary(encoder.config.width, _DIM, _QUERIES, _LAYOUT_CHANNELS, _LAYOUT_SIDE)
        self.head = nn.Sequential(nn.LayerNorm(_DIM), nn.Linear(_DIM, _DIM), nn.GELU(), nn.Linear(_DIM, 1))

    def loss_from_tokens(self, images: Tensor, tokens: Sequence[Tokens], batch: FrameBatch) -> Loss:
        """Error of the predicted ratio of volumes between frames of one clip."""
        error = volume_change_loss(self._log_volume(tokens[-1]), batch.relative_volume, batch.clip, _shows_lv(batch))
        return Loss.sum_of([("volume", 1.0, error)])

    def cases_from_tokens(self, images: Tensor, tokens: Sequence[Tokens], batch: FrameBatch) -> Cases:
        """The same error of every pair of frames of a held-back clip."""
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
