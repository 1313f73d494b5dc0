"""Recipes that teach one frame task from the clips of a data set, starting from a trained set: views, outlines, walls.

The start may have an adapter for the task. A run with the same kind of adapter goes on from it, so that one round of
learning follows another.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from echoapex.data.datasets import DatasetClip
from echoapex.data.frame_source import FrameSource, FrameSourceConfig, HeldBackFrames
from echoapex.data.stores.clip_store import FewShot, PreparedClipSource, choose_clips
from echoapex.data.stores.dataset_store import DatasetStoreConfig
from echoapex.models.bundle import Bundle, BundleError, build_encoder_from, read_card
from echoapex.models.decoders.promptable import PromptableDecoder
from echoapex.models.encoder import VisionTransformer
from echoapex.models.registry import TaskPaths, find_set
from echoapex.recipes.clips import DatasetClips
from echoapex.recipes.recipe import EncoderExport, LearningSetting, Lineage, Provenance, TaskRecipe, Workload, Workspace
from echoapex.tasks.lv_wall import LvWall
from echoapex.tasks.segmentation import SegmentationTask
from echoapex.tasks.task import FrameTask, ParameterGroup, Task, scale_learning_rate
from echoapex.tasks.trained_set import blocks_of, build_segmenter, build_view_decoder, build_wall_decoder
from echoapex.tasks.view_classification import ViewClassification, ViewLossConfig
from echoapex.vocabulary import Application, Structure, View


class DatasetTaskRecipe(TaskRecipe):
    """Where the clips and the starting set are, and how frames are drawn."""

    application: ClassVar[Application]
    wanted: ClassVar[str]
    """The labels that a clip needs, in words."""
    label_order: ClassVar[tuple[str, ...]] = ()
    """What the outputs of the decoder stand for, where each has a label."""

    dataset: str
    root: Path
    start: str = "phantom"
    """Name or folder of the starting set."""
    store: DatasetStoreConfig = DatasetStoreConfig(frames=4)
    frames: FrameSourceConfig = FrameSourceConfig()
    size_of_start: bool = False
    """Whether images have the size that the starting set reads; then ``frames.sizes`` plays no part."""
    setting: LearningSetting = LearningSetting()
    few_shot: FewShot | None = None
    validation_batch: int = Field(default=40, ge=1)

    @abstractmethod
    def assemble(self, encoder: VisionTransformer, decoder_bundle: Bundle) -> FrameTask:
        """The task with this encoder and the decoder of the starting set."""

    @staticmethod
    @abstractmethod
    def has_truth(record: DatasetClip) -> bool:
        """Whether a clip has the labels that the task needs."""

    def build(self, workspace: Workspace) -> Workload:
        """Prepare the clips and build the task from the starting set."""
        task, frames = self.build_task(), self.drawn_frames()
        training, held_back = self._clips.open(self.has_truth, self.wanted, workspace)
        taught: list[PreparedClipSource] = [training]
        if self.few_shot is not None:
            taught = choose_clips(taught, self.few_shot)
        judging = HeldBackFrames(held_back, frames.sizes[-1][1], self.validation_batch)
        return Workload(task, FrameSource(taught, frames), judging, len(judging))

    def build_task(self) -> FrameTask:
        """The task with the weights of the starting set.

        Raises:
            BundleError: there is no such set, it is damaged, or it has an adapter of another kind than the setting.
        """
        encoder_bundle, decoder_bundle = self.starting_bundles()
        encoder = build_encoder_from(encoder_bundle).requires_grad_(True)
        task = self.assemble(encoder, decoder_bundle)
        task.adapter = self.continued_setting().apply(encoder, encoder_bundle)
        return task

    def write(self, task: Task, directory: Path, lineage: Lineage) -> None:
        """Write the encoder and its decoder."""
        assert isinstance(task, FrameTask)
        out = EncoderExport(directory, lineage, self.drawn_frames().sizes[-1][1])
        out.write(task.encoder, task.adapter, self.unchanged_encoder)
        out.write_decoder(
            self.application.value,
            task.decoder,
            architecture={"decoder": task.decoder.config.model_dump(mode="json"), "blocks": list(task.blocks)},
            label_order=self.label_order,
            calibration=self.calibration(lineage),
        )
        out.finish()

    def calibration(self, lineage: Lineage) -> dict[str, float]:
        """What the card says of the confidence of the decoder; by default nothing."""
        return {}

    def starts(self) -> Sequence[Path]:
        """Encoder and decoder of the starting set, and the adapter to go on from."""
        found = self.starting_paths()
        return [found.encoder, found.decoder, *self.continued_setting().starts]

    def learned_from(self, provenance: Provenance) -> Provenance:
        """What the card says of the clips."""
        return self._clips.taught(provenance)

    @property
    def _clips(self) -> DatasetClips:
        return DatasetClips(dataset=self.dataset, root=self.root, store=self.store)

    @property
    def unchanged_encoder(self) -> Path | None:
        """The encoder that the run leaves as it is; None where the encoder learns."""
        return None if self.setting.name == "full" else self.starting_paths().encoder

    def drawn_frames(self) -> FrameSourceConfig:
        """How frames are drawn, at the size of the start where the recipe says so."""
        if not self.size_of_start:
            return self.frames
        side = read_card(self.starting_paths().decoder).preprocessing.size[0]
        return self.frames.model_copy(update={"sizes": ((0, side),)})

    def starting_paths(self) -> TaskPaths:
        """Where the starting encoder, decoder and adapter lie.

        Raises:
            BundleError: there is no such set, or it lacks the task.
        """
        found = find_set(self.start)
        paths = found.find_task(self.application.value)
        if paths.set_name != found.name:
            name = self.application.value
            raise BundleError(f"{self.start}: the set has no decoder for {name!r}; start from one that has")
        return paths

    def starting_bundles(self) -> tuple[Bundle, Bundle]:
        """Encoder and decoder of the starting set.

        Raises:
            BundleError: one is missing or damaged, or an adapter belongs to them that the setting cannot go on from.
        """
        encoder, decoder, _ = self.starting_paths().load()
        self.continued_setting()
        return encoder, decoder

    def continued_setting(self) -> LearningSetting:
        """The setting, going on from the adapter of the starting set where it has one.

        Raises:
            BundleError: the set has an adapter, and the setting trains none.
        """
        paths = self.starting_paths()
        if paths.adapter is None or self.setting.start is not None:
            return self.setting
        if self.setting.name in ("full", "frozen"):
            raise BundleError(
                f"{paths.decoder}: was trained with an adapter; give the setting of its kind (--setting lora), or "
                "start from a set whose encoder needs none"
            )
        return self.setting.model_copy(update={"start": paths.adapter})


class DatasetViewsRecipe(DatasetTaskRecipe):
    """Where the clips with views and the starting set are, and how frames are drawn."""

    application: ClassVar[Application] = Application.VIEW_CLASSIFICATION
    wanted: ClassVar[str] = "a view"
    label_order: ClassVar[tuple[str, ...]] = tuple(view.value for view in View)

    kind: Literal["dataset_views"] = "dataset_views"
    dataset: Literal["tmed2", "folder", "corrections"]
    view_loss: ViewLossConfig = ViewLossConfig()

    @staticmethod
    def has_truth(record: DatasetClip) -> bool:
        """Whether the view is known."""
        return record.view is not None

    def assemble(self, encoder: VisionTransformer, decoder_bundle: Bundle) -> ViewClassification:
        """View classification with the decoder of the starting set."""
        decoder = build_view_decoder(decoder_bundle)
        return ViewClassification(encoder, decoder, blocks_of(decoder_bundle), config=self.view_loss)

    def calibration(self, lineage: Lineage) -> dict[str, float]:
        """The temperature of the probabilities."""
        return {"temperature": round(lineage.metrics.get("validation/view_temperature", 1.0), 3)}


class DatasetSegmentationRecipe(DatasetTaskRecipe):
    """Where the clips with outlines and the starting set are, and how frames are drawn."""

    application: ClassVar[Application] = Application.SEGMENTATION
    wanted: ClassVar[str] = "an outline"
    label_order: ClassVar[tuple[str, ...]] = tuple(structure.key for structure in Structure)

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

    def assemble(self, encoder: VisionTransformer, decoder_bundle: Bundle) -> SegmentationTask:
        """Segmentation with the decoder of the starting set."""
        return CorrectedSegmentation(encoder, build_segmenter(decoder_bundle), blocks_of(decoder_bundle), self)


class CorrectedSegmentation(SegmentationTask):
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

    def parameter_groups(self) -> list[ParameterGroup]:
        """The groups of every task, split into the decoder and the rest."""
        return scale_learning_rate(
            super().parameter_groups(), self.decoder.parameters(), self.decoder_learning_rate_factor
        )


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

    def assemble(self, encoder: VisionTransformer, decoder_bundle: Bundle) -> LvWall:
        """Wall points with the decoder of the starting set."""
        return LvWall(encoder, build_wall_decoder(decoder_bundle), blocks_of(decoder_bundle))
