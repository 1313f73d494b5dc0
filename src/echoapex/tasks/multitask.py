"""One encoder trained by several tasks at once: views, structures and wall points from the same frames.

Every frame is encoded once, and every decoder sends its gradient into the shared encoder.
"""

from __future__ import annotations

import torch
from torch import nn

from echoapex.config import Config
from echoapex.data.batch import FrameBatch
from echoapex.models.adapters import Adapter
from echoapex.models.encoder import standardise
from echoapex.tasks.ejection_fraction import VolumeChange
from echoapex.tasks.lv_wall import LvWall
from echoapex.tasks.segmentation import SegmentationTask
from echoapex.tasks.task import Cases, Loss, Task
from echoapex.tasks.view_classification import ViewClassification


class LossWeights(Config):
    """The share of each application in the common loss."""

    view: float = 1.0
    segmentation: float = 2.0
    wall: float = 0.2
    volume: float = 0.0
    """Of the volume's change between frames of a clip, which teaches the encoder only."""


class MultiTask(Task):
    """Tasks that share one encoder; they must have been built with the same one."""

    def __init__(
        self,
        view: ViewClassification,
        segmentation: SegmentationTask,
        wall: LvWall,
        weights: LossWeights,
        volume: VolumeChange | None = None,
    ) -> None:
        super().__init__()
        if not (view.encoder is segmentation.encoder is wall.encoder):
            raise ValueError("the tasks of a multitask share one encoder")
        self.encoder = view.encoder
        self.blocks = segmentation.blocks
        self.view = view
        self.segmentation = segmentation
        self.wall = wall
        self.volume = volume
        self.adapter: Adapter | None = None
        """What learns in place of the encoder, attached to it."""
        self.weights = weights

    def encoder_and_adapter(self) -> tuple[nn.Module | None, nn.Module | None]:
        """The encoder, and the adapter where one learns in its place."""
        return self.encoder, self.adapter

    def loss(self, batch: FrameBatch) -> Loss:
        """Encode once, decode three times, add up."""
        images = standardise(batch.pixels)
        tokens = self.encoder.forward_blocks(images, self.blocks)
        view = self.view.loss_from_tokens(tokens, batch)
        segmentation = self.segmentation.loss_from_tokens(images, tokens, batch)
        wall = self.wall.loss_from_tokens(images, tokens, batch)
        weights = self.weights
        total = weights.view * view.total + weights.segmentation * segmentation.total + weights.wall * wall.total
        terms = view.terms | segmentation.terms | wall.terms
        if self.volume is not None:
            volume = self.volume.loss_from_tokens(tokens, batch)
            total, terms = total + weights.volume * volume.total, terms | volume.terms
        return Loss(total, terms)

    @torch.no_grad()
    def cases(self, batch: FrameBatch) -> Cases:
        """The cases of all."""
        images = standardise(batch.pixels)
        tokens = self.encoder.forward_blocks(images, self.blocks)
        return (
            self.view.cases_from_tokens(tokens, batch)
            | self.segmentation.cases_from_tokens(images, tokens, batch)
            | self.wall.cases_from_tokens(images, tokens, batch)
            | (self.volume.cases_from_tokens(tokens, batch) if self.volume is not None else {})
        )

    def summarise(self, cases: Cases) -> dict[str, float]:
        """The figures of all."""
        parts = (self.view, self.segmentation, self.wall, *([self.volume] if self.volume is not None else []))
        return {name: figure for part in parts for name, figure in part.summarise(cases).items()}
