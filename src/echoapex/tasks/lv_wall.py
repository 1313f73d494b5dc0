"""Application 3: the four wall end points on PLAX, from which IVSd, LVIDd and LVPWd are measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from echoapex.data.batch import FrameBatch
from echoapex.losses.supervised import heatmap_loss
from echoapex.models.decoders.multiscale import WallPointDecoder
from echoapex.models.encoder import EncodedClip, Tokens, VisionTransformer, chunks
from echoapex.tasks.task import Cases, FrameTask, Loss

FrameWallPoints = tuple[int, np.ndarray, np.ndarray]
"""Frame number, points (4, 2) in model pixels in ``WallPoint`` order, confidence (4,)."""


class LvWall(FrameTask):
    """Heat maps of the wall end points from several depths of the encoder."""

    def __init__(self, encoder: VisionTransformer, decoder: WallPointDecoder, blocks: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.blocks = tuple(blocks)

    def loss_from_tokens(self, images: Tensor, tokens: Sequence[Tokens], batch: FrameBatch) -> Loss:
        """Heat-map loss of the frames that carry wall points; zero, with a gradient of zero, when there are none."""
        rows = torch.nonzero(batch.has_walls)[:, 0]
        if rows.numel() == 0:
            return Loss.sum_of([("wall", 1.0, 0 * tokens[-1].class_token.float().sum())])
        heatmaps = self.decoder([take(t, rows) for t in tokens], images[rows])
        return Loss.sum_of([("wall", 1.0, heatmap_loss(heatmaps.float(), batch.wall_points[rows]))])

    def cases_from_tokens(self, images: Tensor, tokens: Sequence[Tokens], batch: FrameBatch) -> Cases:
        """Points found and true, in model pixels, of the frames that carry them."""
        rows = torch.nonzero(batch.has_walls)[:, 0]
        truth = batch.wall_points[rows]
        points = truth
        if rows.numel():
            points, _ = self.decoder.points(self.decoder([take(t, rows) for t in tokens], images[rows]))
        return {"wall_points": points, "wall_truth": truth}

    def summarise(self, cases: Cases) -> dict[str, float]:
        """Mean distance of the points, and mean error of the lengths between them, in model pixels."""
        points, truth = cases["wall_points"], cases["wall_truth"]
        if not len(truth):
            return {}
        distance = (points - truth).norm(dim=-1).mean().item()
        lengths = torch.diff(points, dim=1).norm(dim=-1) - torch.diff(truth, dim=1).norm(dim=-1)
        ivs, lvid, lvpw = lengths.abs().mean(dim=0).tolist()
        return {"wall_point_px": distance, "ivs_px": ivs, "lvid_px": lvid, "lvpw_px": lvpw}

    @torch.inference_mode()
    def predict(self, encoded: EncodedClip, frames: Sequence[int]) -> list[FrameWallPoints]:
        """Wall points of some frames, in model pixels."""
        found: list[FrameWallPoints] = []
        for part in chunks(frames, 16):
            images, tokens = encoded.select(part)
            points, confidence = self.decoder.points(self.decoder(tokens, images))
            found.extend(zip(part, points.double().cpu().numpy(), confidence.double().cpu().numpy(), strict=True))
        return found


def take(tokens: Tokens, rows: Tensor) -> Tokens:
    """The tokens of some images of a batch."""
    return tokens.each(lambda part: part[rows])
