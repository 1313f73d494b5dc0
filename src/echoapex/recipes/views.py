"""Recipe: views learnt from a public data set or a user's own clips, starting from a trained set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field
from torch import nn

from echoapex.data.frame_source import FrameSource, FrameSourceConfig, HeldBackFrames
from echoapex.data.stores.clip_store import FewShot, PreparedClipSource, choose_clips
from echoapex.data.stores.dataset_store import DatasetStoreConfig
from echoapex.models.adapters import Adapter
from echoapex.models.bundle import build_encoder_from
from echoapex.models.decoders.linear import LinearViewDecoder
from echoapex.models.encoder import VisionTransformer
from echoapex.models.registry import find_set
from echoapex.recipes.clips import DatasetClips, starting_bundles
from echoapex.recipes.recipe import EncoderExport, LearningSetting, Lineage, Provenance, TaskRecipe, Workload, Workspace
from echoapex.tasks.task import Task
from echoapex.tasks.trained_set import blocks_of, build_view_decoder
from echoapex.tasks.view_classification import ViewClassification, ViewLossConfig
from echoapex.vocabulary import Application, View


class DatasetViewsRecipe(TaskRecipe):
    """Where the clips and the starting set are, and how frames are drawn."""

    kind: Literal["dataset_views"] = "dataset_views"
    dataset: Literal["tmed2", "folder"]
    root: Path
    start: str = "phantom"
    """Name or folder of the starting set."""
    store: DatasetStoreConfig = DatasetStoreConfig(frames=4)
    frames: FrameSourceConfig = FrameSourceConfig()
    view_loss: ViewLossConfig = ViewLossConfig()
    setting: LearningSetting = LearningSetting()
    few_shot: FewShot | None = None
    validation_batch: int = Field(default=40, ge=1)

    def build(self, workspace: Workspace) -> Workload:
        """Prepare the clips and build the task from the starting set."""
        task = self.build_task()
        clips = DatasetClips(dataset=self.dataset, root=self.root, store=self.store)
        training, held_back = clips.open(lambda record: record.view is not None, "a view", workspace)
        taught: list[PreparedClipSource] = [training]
        if self.few_shot is not None:
            taught = choose_clips(taught, self.few_shot)
        judging = HeldBackFrames(held_back, self.frames.sizes[-1][1], self.validation_batch)
        return Workload(task, FrameSource(taught, self.frames), judging, len(judging))

    def build_task(self) -> AdaptedViews:
        """The task with the weights of the starting set.

        Raises:
            BundleError: there is no such set, it is damaged, or it needs an adapter.
        """
        encoder_bundle, decoder_bundle = starting_bundles(self.start, Application.VIEW_CLASSIFICATION)
        decoder = build_view_decoder(decoder_bundle)
        encoder = build_encoder_from(encoder_bundle).requires_grad_(True)
        task = AdaptedViews(encoder, decoder, blocks_of(decoder_bundle), self.view_loss)
        task.adapter = self.setting.apply(encoder, encoder_bundle)
        return task

    def starts(self) -> Sequence[Path]:
        """Encoder and decoder of the starting set, and the adapter to go on from."""
        found = find_set(self.start).find_task(Application.VIEW_CLASSIFICATION.value)
        return [found.encoder, found.decoder, *self.setting.starts]

    def learned_from(self, provenance: Provenance) -> Provenance:
        """What the card says of the clips."""
        return DatasetClips(dataset=self.dataset, root=self.root, store=self.store).taught(provenance)

    def write(self, task: Task, directory: Path, lineage: Lineage) -> None:
        """Write the encoder and its view decoder."""
        assert isinstance(task, AdaptedViews)
        base = find_set(self.start).find_task(Application.VIEW_CLASSIFICATION.value).encoder
        out = EncoderExport(directory, lineage, self.frames.sizes[-1][1])
        out.write(task.encoder, task.adapter, None if self.setting.name == "full" else base)
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
