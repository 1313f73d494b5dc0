"""Recipe: wall end points learnt from corrections, starting from a trained set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from torch import nn

from echoapex.data.datasets import DatasetClip
from echoapex.models.adapters import Adapter
from echoapex.models.bundle import build_encoder_from
from echoapex.models.decoders.multiscale import WallPointDecoder
from echoapex.models.encoder import VisionTransformer
from echoapex.recipes.dataset_task import DatasetTaskRecipe
from echoapex.recipes.recipe import EncoderExport, Lineage
from echoapex.tasks.lv_wall import LvWall
from echoapex.tasks.task import Task
from echoapex.tasks.trained_set import blocks_of, build_wall_decoder
from echoapex.vocabulary import Application


class DatasetWallsRecipe(DatasetTaskRecipe):
    """Where the clips with wall points and the starting set are, and how frames are drawn."""

    application: ClassVar[Application] = Application.LV_WALL
    wanted: ClassVar[str] = "wall points"

    kind: Literal["dataset_walls"] = "dataset_walls"
    dataset: Literal["corrections"]

    @staticmethod
    def has_truth(record: DatasetClip) -> bool:
        """Whether wall points were marked."""
        return bool(record.walls)

    def build_task(self) -> AdaptedWalls:
        """The task with the weights of the starting set.

        Raises:
            BundleError: there is no such set, it is damaged, or it has an adapter of another kind than the setting.
        """
        encoder_bundle, decoder_bundle = self.starting_bundles()
        encoder = build_encoder_from(encoder_bundle).requires_grad_(True)
        task = AdaptedWalls(encoder, build_wall_decoder(decoder_bundle), blocks_of(decoder_bundle))
        task.adapter = self.continued_setting().apply(encoder, encoder_bundle)
        return task

    def write(self, task: Task, directory: Path, lineage: Lineage) -> None:
        """Write the encoder and its decoder of wall points."""
        assert isinstance(task, AdaptedWalls)
        out = EncoderExport(directory, lineage, self.drawn_frames().sizes[-1][1])
        out.write(task.encoder, task.adapter, self.unchanged_encoder)
        out.write_decoder(
            Application.LV_WALL.value,
            task.decoder,
            architecture={"decoder": task.decoder.config.model_dump(mode="json"), "blocks": list(task.blocks)},
            label_order=(),
        )
        out.finish()


class AdaptedWalls(LvWall):
    """Wall points with an optional adapter that is trained instead of the encoder."""

    def __init__(self, encoder: VisionTransformer, decoder: WallPointDecoder, blocks: Sequence[int]) -> None:
        super().__init__(encoder, decoder, blocks)
        self.adapter: Adapter | None = None

    def encoder_and_adapter(self) -> tuple[nn.Module | None, nn.Module | None]:
        """The encoder, and the adapter where one learns in its place."""
        return self.encoder, self.adapter
