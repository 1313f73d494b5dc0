"""Recipe: structures learnt from corrections or a user's own outlines, starting from a trained set.

Each clip teaches only the structures that were outlined on it; the others stay unknown.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from echoapex.data.datasets import DatasetClip
from echoapex.models.adapters import Adapter
from echoapex.models.bundle import build_encoder_from
from echoapex.models.decoders.promptable import PromptableDecoder
from echoapex.models.encoder import VisionTransformer
from echoapex.recipes.dataset_task import DatasetTaskRecipe
from echoapex.recipes.recipe import EncoderExport, Lineage
from echoapex.tasks.segmentation import SegmentationTask
from echoapex.tasks.task import ParameterGroup, Task
from echoapex.tasks.trained_set import blocks_of, build_segmenter
from echoapex.vocabulary import Application, Structure


class DatasetSegmentationRecipe(DatasetTaskRecipe):
    """Where the clips with outlines and the starting set are, and how frames are drawn."""

    application: ClassVar[Application] = Application.SEGMENTATION
    wanted: ClassVar[str] = "an outline"

    kind: Literal["dataset_segmentation"] = "dataset_segmentation"
    dataset: Literal["folder", "corrections"]
    click_rounds: int = Field(default=2, ge=1, le=10)
    """Answers to each simulated prompt in a step, each after one more click on the largest error."""
    decoder_learning_rate_factor: float = Field(default=1.0, gt=0)
    """Learning rate of the decoder relative to that of the encoder, or of the adapter in its place."""

    @staticmethod
    def has_truth(record: DatasetClip) -> bool:
        """Whether anything is outlined."""
        return bool(record.outlined)

    def build_task(self) -> AdaptedSegmentation:
        """The task with the weights of the starting set.

        Raises:
            BundleError: there is no such set, it is damaged, or it has an adapter of another kind than the setting.
        """
        encoder_bundle, decoder_bundle = self.starting_bundles()
        encoder = build_encoder_from(encoder_bundle).requires_grad_(True)
        decoder = build_segmenter(decoder_bundle)
        task = AdaptedSegmentation(encoder, decoder, blocks_of(decoder_bundle), self)
        task.adapter = self.continued_setting().apply(encoder, encoder_bundle)
        return task

    def write(self, task: Task, directory: Path, lineage: Lineage) -> None:
        """Write the encoder and its segmentation decoder."""
        assert isinstance(task, AdaptedSegmentation)
        out = EncoderExport(directory, lineage, self.drawn_frames().sizes[-1][1])
        out.write(task.encoder, task.adapter, self.unchanged_encoder)
        out.write_decoder(
            Application.SEGMENTATION.value,
            task.decoder,
            architecture={"decoder": task.decoder.config.model_dump(mode="json"), "blocks": list(task.blocks)},
            label_order=tuple(structure.key for structure in Structure),
        )
        out.finish()


class AdaptedSegmentation(SegmentationTask):
    """Segmentation whose decoder may learn more slowly than the encoder, or than the adapter in its place."""

    def __init__(
        self,
        encoder: VisionTransformer,
        decoder: PromptableDecoder,
        blocks: tuple[int, ...],
        recipe: DatasetSegmentationRecipe,
    ) -> None:
        super().__init__(encoder, decoder, blocks, recipe.click_rounds)
        self.decoder_learning_rate_factor = recipe.decoder_learning_rate_factor
        self.adapter: Adapter | None = None

    def encoder_and_adapter(self) -> tuple[nn.Module | None, nn.Module | None]:
        """The encoder, and the adapter where one learns in its place."""
        return self.encoder, self.adapter

    def parameter_groups(self) -> list[ParameterGroup]:
        """The groups of every task, split into the decoder and the rest."""
        of_decoder = {id(parameter) for parameter in self.decoder.parameters()}
        groups = []
        for group in super().parameter_groups():
            for inside, factor in ((True, self.decoder_learning_rate_factor), (False, 1.0)):
                members = [p for p in group.parameters if (id(p) in of_decoder) is inside]
                groups.append(ParameterGroup(members, factor, group.weight_decay_factor))
        return groups
