"""Recipe: views learnt from a public data set, a user's own clips or corrections, starting from a trained set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from torch import nn

from echoapex.data.datasets import DatasetClip
from echoapex.models.adapters import Adapter
from echoapex.models.bundle import build_encoder_from
from echoapex.models.decoders.linear import LinearViewDecoder
from echoapex.models.encoder import VisionTransformer
from echoapex.recipes.dataset_task import DatasetTaskRecipe
from echoapex.recipes.recipe import EncoderExport, Lineage
from echoapex.tasks.task import Task
from echoapex.tasks.trained_set import blocks_of, build_view_decoder
from echoapex.tasks.view_classification import ViewClassification, ViewLossConfig
from echoapex.vocabulary import Application, View


class DatasetViewsRecipe(DatasetTaskRecipe):
    """Where the clips with views and the starting set are, and how frames are drawn."""

    application: ClassVar[Application] = Application.VIEW_CLASSIFICATION
    wanted: ClassVar[str] = "a view"

    kind: Literal["dataset_views"] = "dataset_views"
    dataset: Literal["tmed2", "folder", "corrections"]
    view_loss: ViewLossConfig = ViewLossConfig()

    @staticmethod
    def has_truth(record: DatasetClip) -> bool:
        """Whether the view is known."""
        return record.view is not None

    def build_task(self) -> AdaptedViews:
        """The task with the weights of the starting set.

        Raises:
            BundleError: there is no such set, it is damaged, or it has an adapter of another kind than the setting.
        """
        encoder_bundle, decoder_bundle = self.starting_bundles()
        decoder = build_view_decoder(decoder_bundle)
        encoder = build_encoder_from(encoder_bundle).requires_grad_(True)
        task = AdaptedViews(encoder, decoder, blocks_of(decoder_bundle), self.view_loss)
        task.adapter = self.continued_setting().apply(encoder, encoder_bundle)
        return task

    def write(self, task: Task, directory: Path, lineage: Lineage) -> None:
        """Write the encoder and its view decoder."""
        assert isinstance(task, AdaptedViews)
        out = EncoderExport(directory, lineage, self.drawn_frames().sizes[-1][1])
        out.write(task.encoder, task.adapter, self.unchanged_encoder)
        temperature = lineage.metrics.get("validation/view_temperature", 1.0)
        out.write_decoder(
            Application.VIEW_CLASSIFICATION.value,
            task.decoder,
            architecture={"decoder": task.decoder.config.model_dump(mode="json"), "blocks": list(task.blocks)},
            label_order=tuple(view.value for view in View),
            calibration={"temperature": round(temperature, 3)},
        )
        out.finish()


class AdaptedViews(ViewClassification):
    """View classification with an optional adapter that is trained instead of the encoder."""

    def __init__(
        self, encoder: VisionTransformer, decoder: LinearViewDecoder, blocks: Sequence[int], config: ViewLossConfig
    ) -> None:
        super().__init__(encoder, decoder, blocks, config=config)
        self.adapter: Adapter | None = None

    def encoder_and_adapter(self) -> tuple[nn.Module | None, nn.Module | None]:
        """The encoder, and the adapter where one learns in its place."""
        return self.encoder, self.adapter
