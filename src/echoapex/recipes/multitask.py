"""Recipe: one encoder trained for views, structures and wall points together, on frames of the phantom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from echoapex.config import Config
from echoapex.data.frame_source import FrameSource, FrameSourceConfig, HeldBackFrames
from echoapex.data.stores.clip_store import FewShot, PreparedClipSource, choose_clips
from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.models.bundle import BundleError, load_bundle
from echoapex.models.decoders.linear import LinearViewConfig, LinearViewDecoder
from echoapex.models.decoders.multiscale import WallPointConfig, WallPointDecoder
from echoapex.models.decoders.promptable import PromptableConfig, PromptableDecoder
from echoapex.models.encoder import EncoderConfig
from echoapex.models.registry import ADAPTER, ENCODER
from echoapex.models.weights_file import load_weights
from echoapex.recipes.clips import open_phantom_store
from echoapex.recipes.pretrain import starting_encoder
from echoapex.recipes.recipe import EncoderExport, LearningSetting, Lineage, TaskRecipe, Workload, Workspace
from echoapex.tasks.ejection_fraction import VolumeChange
from echoapex.tasks.lv_wall import LvWall
from echoapex.tasks.segmentation import SegmentationTask
from echoapex.tasks.task import FrameTask, SharedEncoderTask, Task
from echoapex.tasks.view_classification import ViewClassification, ViewLossConfig, split_view_branches
from echoapex.vocabulary import Application, Structure, View

DECODERS = (Application.VIEW_CLASSIFICATION, Application.SEGMENTATION, Application.LV_WALL)


class LossWeights(Config):
    """Weight of each application in the common loss."""

    view: float = 1.0
    segmentation: float = 2.0
    wall: float = 0.2
    volume: float = 0.0
    """Weight of the volume change between frames of a clip, which trains only the encoder."""


class MultiTask(SharedEncoderTask):
    """Views, structures and wall points from the same frames; they must have been built with the same encoder."""

    view: ViewClassification
    segmentation: SegmentationTask
    wall: LvWall

    def __init__(
        self,
        view: ViewClassification,
        segmentation: SegmentationTask,
        wall: LvWall,
        weights: LossWeights,
        volume: VolumeChange | None = None,
    ) -> None:
        parts: dict[str, FrameTask] = {"view": view, "segmentation": segmentation, "wall": wall}
        super().__init__(parts | ({} if volume is None else {"volume": volume}), weights.model_dump())
        self.weights = weights
        self.volume = volume


class MultiTaskRecipe(TaskRecipe):
    """Architecture, data and loss weights of the shared encoder and its three frame decoders."""

    kind: Literal["multitask"] = "multitask"
    encoder: EncoderConfig = EncoderConfig()
    blocks: tuple[int, ...] = (2, 5, 8, 11)
    view: LinearViewConfig = LinearViewConfig()
    view_loss: ViewLossConfig = ViewLossConfig()
    segmentation: PromptableConfig = PromptableConfig()
    wall: WallPointConfig = WallPointConfig()
    weights: LossWeights = LossWeights()
    click_rounds: int = Field(default=1, ge=1, le=10)
    """Answers to each simulated prompt in a step, each after one more click on the largest error."""
    stores: dict[str, PhantomStoreConfig]
    validation: PhantomStoreConfig
    frames: FrameSourceConfig = FrameSourceConfig()
    validation_batch: int = Field(default=60, ge=1)
    setting: LearningSetting = LearningSetting()
    few_shot: FewShot | None = None
    """Train on only a few clips."""
    start: Path | None = None
    """A set of bundles of the same architecture to start from; without it all weights are fresh.

    Its segmentation decoder may have no pyramid where this one has one.
    """
    encoder_bundle: Path | None = None
    """An encoder bundle, or a safetensors file of DINOv2, DINOv3 or timm, of the same size and patch, to start from
    with fresh decoders; registers, positions and the rest are then those of the weights."""

    @model_validator(mode="after")
    def _parts_fit(self) -> MultiTaskRecipe:
        """Find mistakes now, not after hours of drawing clips."""
        if self.start is not None and self.encoder_bundle is not None:
            raise ValueError("start already holds an encoder; leave encoder_bundle out, or start")
        patch, width, depth = self.encoder.patch_size, self.encoder.width, self.encoder.depth
        if self.weights.volume > 0 and self.frames.frames_per_clip < 2:
            raise ValueError("weights.volume compares frames of a clip; set frames.frames_per_clip to 2 or more")
        if not self.blocks or not all(0 <= block < depth for block in self.blocks):
            raise ValueError(f"blocks {list(self.blocks)} must be indices from 0 to {depth - 1}, at least one")
        uneven = [side for _, side in self.frames.sizes if side % patch]
        if uneven:
            raise ValueError(f"frames.sizes: {uneven} are not whole numbers of patches of {patch} pixels")
        halved = 8 if self.segmentation.pyramid_blocks else 4
        uneven = [side for _, side in self.frames.sizes if side % halved]
        if uneven:
            raise ValueError(f"frames.sizes: {uneven} are not multiples of {halved}, which the segmentation needs")
        for name, decoder in (("view", self.view), ("segmentation", self.segmentation), ("wall", self.wall)):
            if decoder.width != width:
                raise ValueError(
                    f"{name}.width is {decoder.width}, the encoder's tokens have {width}; set it to {width}"
                )
        for name, several in (("segmentation", self.segmentation), ("wall", self.wall)):
            if several.depths != len(self.blocks):
                raise ValueError(
                    f"{name}.depths is {several.depths}, but blocks names {len(self.blocks)}; make them agree"
                )
        return self

    def simulated_patients(self) -> tuple[Mapping[str, PhantomStoreConfig], PhantomStoreConfig | None]:
        """The phantom stores of training, and that of validation."""
        return self.stores, self.validation

    def build(self, workspace: Workspace) -> Workload:
        """Draw the stores that are missing and build the task."""
        task = self.build_task()  # first, so that unsuitable starting weights are found before clips are drawn
        stores: list[PreparedClipSource] = [
            open_phantom_store(name, config, workspace) for name, config in self.stores.items()
        ]
        if self.few_shot is not None:
            stores = choose_clips(stores, self.few_shot)
        held_back = open_phantom_store("validation", self.validation, workspace)
        judging = HeldBackFrames(held_back, self.frames.sizes[-1][1], self.validation_batch)
        return Workload(task, FrameSource(stores, self.frames), judging, len(judging))

    def build_task(self) -> MultiTask:
        """The task with fresh weights, or with the starting weights.

        Raises:
            BundleError: the starting bundle is damaged, or the starting set lacks one or has adapters of its own.
            WeightsError: it has another architecture, or the file holds no known encoder.
        """
        encoder = starting_encoder(self.encoder, self.encoder_bundle, masks_patches=False)
        task = MultiTask(
            ViewClassification(encoder, LinearViewDecoder.build(self.view), self.blocks, config=self.view_loss),
            SegmentationTask(encoder, PromptableDecoder.build(self.segmentation), self.blocks, self.click_rounds),
            LvWall(encoder, WallPointDecoder.build(self.wall), self.blocks),
            self.weights,
            VolumeChange(encoder, self.blocks) if self.weights.volume > 0 else None,
        )
        if self.start is not None:
            bundle = load_bundle(self.start / ENCODER)
            load_weights(encoder, bundle.state, bundle.directory)
            if self.setting.start is None:
                _refuse_adapters(self.start)
            load_decoders(task, self.start)
        base = None if self.start is None else load_bundle(self.start / ENCODER)
        task.adapter = self.setting.apply(encoder, base)
        return task

    def starts(self) -> Sequence[Path]:
        """The starting set or encoder, and the starting adapter."""
        given = [] if self.encoder_bundle is None else [self.encoder_bundle]
        if self.start is not None:
            given = [self.start / name for name in (ENCODER, *DECODERS)]
        return [*given, *self.setting.starts]

    def write(self, task: Task, directory: Path, lineage: Lineage) -> None:
        """Write encoder, view classification, segmentation and wall bundles in half precision."""
        assert isinstance(task, MultiTask)
        out = EncoderExport(directory, lineage, self.frames.sizes[-1][1])
        unchanged = self.start is not None and (task.adapter is not None or self.setting.name == "frozen")
        out.write(task.encoder, task.adapter, self.start / "encoder" if self.start is not None and unchanged else None)
        labels = {
            Application.VIEW_CLASSIFICATION: tuple(view.value for view in View),
            Application.SEGMENTATION: tuple(structure.key for structure in Structure),
            Application.LV_WALL: (),
        }
        parts = {
            Application.VIEW_CLASSIFICATION: (task.view.decoder, self.view),
            Application.SEGMENTATION: (task.segmentation.decoder, self.segmentation),
            Application.LV_WALL: (task.wall.decoder, self.wall),
        }
        # real patients differ from simulated ones: simulated validation may lower the confidence, never raise it
        temperature = max(1.0, lineage.metrics.get("validation/view_temperature", 1.0))
        calibration = {Application.VIEW_CLASSIFICATION: {"temperature": round(temperature, 3)}}
        for application, (decoder, config) in parts.items():
            out.write_decoder(
                application.value,
                decoder,
                architecture={"decoder": config.model_dump(mode="json"), "blocks": list(self.blocks)},
                label_order=labels[application],
                calibration=calibration.get(application, {}),
            )
        out.finish()


def _refuse_adapters(start: Path) -> None:
    """Decoders that learnt beside an adapter do not fit the encoder without it."""
    if any((start / application.value / ADAPTER).is_dir() for application in DECODERS):
        raise BundleError(
            f"{start}: its decoders belong to an encoder with an adapter; run echoapex models merge {start} --out DIR "
            "and start from DIR"
        )


def load_decoders(task: MultiTask, start: Path) -> None:
    """Give the decoders of a task the weights of a set; its segmentation decoder may lack the pyramid.

    Raises:
        BundleError: the set lacks one, or it is damaged.
        WeightsError: one has another architecture.
    """
    modules = (task.view.decoder, task.segmentation.decoder, task.wall.decoder)
    for application, module in zip(DECODERS, modules, strict=True):
        bundle = load_bundle(start / application.value)
        # the branch of masks does not fit any more as soon as the segmentation is trained
        state, _ = split_view_branches(bundle.state)
        if isinstance(module, PromptableDecoder):
            state = module.with_fresh_pyramid(state)
        load_weights(module, state, bundle.directory)
