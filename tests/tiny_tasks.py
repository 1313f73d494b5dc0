"""Small real tasks, batches and recipes to test with: real architectures on 64-pixel images."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from drawn_clips import DRAWN_STRUCTURES, LABEL_FRAMES, draw_clip

from echoapex.data.batch import EncodedClipBatch, FrameBatch
from echoapex.data.frame_source import FrameSourceConfig
from echoapex.data.stores.phantom_store import PhantomStoreConfig
from echoapex.infer.interactive.clicks import InteractiveSegmenter, Refinement
from echoapex.models.decoders.linear import LinearViewConfig
from echoapex.models.decoders.multiscale import WallPointConfig
from echoapex.models.decoders.promptable import PromptableConfig
from echoapex.models.decoders.spatiotemporal import ClipConfig, ClipDecoder
from echoapex.models.encoder import DIMENSIONS, EncodedClip, EncoderConfig, EncoderSize, TaskModel, encode_clip
from echoapex.recipes.ejection_fraction import EjectionFractionRecipe
from echoapex.recipes.ejection_fraction_clips import FrozenFeatureConfig
from echoapex.recipes.multitask import MultiTask, MultiTaskRecipe
from echoapex.recipes.recipe import Provenance
from echoapex.tasks.ejection_fraction import EjectionFraction
from echoapex.tasks.task import Task
from echoapex.vocabulary import Application, Structure

IMAGE_SIZE = 64
BLOCKS = (2, 5, 8, 11)
PROVENANCE = Provenance(name="tiny", training_data=("none: random weights",))
UNDRAWN = PhantomStoreConfig(patients=1)
"""A store that no test draws; recipes want one."""


def multitask_recipe(size: EncoderSize = "tiny", drop_path: float = 0.0) -> MultiTaskRecipe:
    """The shared encoder and its three frame decoders."""
    width = DIMENSIONS[size].width
    return MultiTaskRecipe(
        encoder=EncoderConfig(size=size, image_size=IMAGE_SIZE, drop_path=drop_path),
        blocks=BLOCKS,
        view=LinearViewConfig(width=width),
        segmentation=PromptableConfig(width=width, dim=32, hidden=32, half_channels=8, quarter_channels=8),
        wall=WallPointConfig(width=width, dim=32, half_channels=8, quarter_channels=8),
        stores={},
        validation=UNDRAWN,
        frames=FrameSourceConfig(sizes=((0, IMAGE_SIZE),)),
    )


def clip_decoder_config(size: EncoderSize = "tiny") -> ClipConfig:
    """A temporal decoder for the tokens of that encoder."""
    return ClipConfig(width=DIMENSIONS[size].width, dim=32, depth=2)


def ef_recipe(encoder_bundle: Path, size: EncoderSize = "tiny") -> EjectionFractionRecipe:
    """The temporal decoder on a frozen encoder."""
    return EjectionFractionRecipe(
        encoder_bundle=encoder_bundle,
        decoder=clip_decoder_config(size),
        stores={"ef": UNDRAWN},
        validation=PhantomStoreConfig(patients=1, first_seed=190_000),
        features=FrozenFeatureConfig(size=IMAGE_SIZE),
    )


@dataclass(frozen=True, eq=False)
class TinyTasks:
    """The multitask, whose parts are the three frame tasks, and the ejection fraction with an encoder of its own."""

    multitask: MultiTask
    ejection_fraction: EjectionFraction

    @property
    def by_name(self) -> dict[str, Task]:
        """Every task under its application's name, and the multitask."""
        return {
            Application.VIEW_CLASSIFICATION.value: self.multitask.view,
            Application.SEGMENTATION.value: self.multitask.segmentation,
            Application.LV_WALL.value: self.multitask.wall,
            Application.EJECTION_FRACTION.value: self.ejection_fraction,
            "multitask": self.multitask,
        }


TASK_NAMES = (*(application.value for application in Application), "multitask")


def build_tasks(size: EncoderSize = "tiny", seed: int = 0, drop_path: float = 0.0) -> TinyTasks:
    """All tasks with random weights."""
    torch.manual_seed(seed)
    multitask = multitask_recipe(size, drop_path).build_task()
    frozen = copy.deepcopy(multitask.encoder)
    decoder = ClipDecoder.build(clip_decoder_config(size))
    return TinyTasks(multitask, EjectionFraction(frozen, decoder, (BLOCKS[-1],)))


def frame_batch(count: int = 4, first: int = 0, with_walls: bool = True) -> FrameBatch:
    """Drawn frames of alternating views; the parasternal ones carry wall points."""
    drawn = [draw_clip(patient, frames=4, size=IMAGE_SIZE) for patient in range(first, first + count)]
    truths = [truth for _, _, truth in drawn]
    known = torch.zeros(count, len(Structure), dtype=torch.bool)
    known[:, [structure - 1 for structure in DRAWN_STRUCTURES]] = True
    points = np.stack([np.nan_to_num(truth["wall_points"]) for truth in truths])
    return FrameBatch(
        pixels=torch.from_numpy(np.stack([pixels[LABEL_FRAMES[0]] for pixels, _, _ in drawn])),
        view=torch.tensor([truth["view"] for truth in truths]),
        labels=torch.from_numpy(np.stack([labels[0] for _, labels, _ in drawn])),
        structure_known=known,
        wall_points=torch.from_numpy(points).float(),
        has_walls=torch.tensor([with_walls and truth["wall_frame"] == 0 for truth in truths]),
        clip=torch.arange(count),
        relative_volume=torch.ones(count),
        origin=torch.zeros(count, dtype=torch.int64),
    )


def clip_batch(size: EncoderSize = "tiny", clips: int = 3, frames: int = 6, seed: int = 0) -> EncodedClipBatch:
    """Random features of clips whose volume falls to the ejection fraction and comes back."""
    generator = torch.Generator().manual_seed(seed)
    ef = torch.rand(clips, generator=generator) * 50 + 20
    phase = torch.linspace(0, torch.pi, frames).sin().square()
    return EncodedClipBatch(
        patches=torch.randn(clips, frames, 16, DIMENSIONS[size].width, generator=generator),
        times_s=(torch.arange(frames) * 0.04).expand(clips, -1),
        frame_mask=torch.ones(clips, frames, dtype=torch.bool),
        ef_percent=ef,
        relative_volume=1 - ef[:, None] / 100 * phase,
    )


def batch_for(name: str, size: EncoderSize = "tiny", seed: int = 0) -> FrameBatch | EncodedClipBatch:
    """A batch that the task of that name can take."""
    if name == Application.EJECTION_FRACTION:
        return clip_batch(size, seed=seed)
    return frame_batch(first=10 * seed)


def encoded_clip(tasks: TinyTasks, frames: int = 5) -> EncodedClip:
    """A drawn clip as the encoder of the multitask saw it."""
    pixels, _, truth = draw_clip(1, frames=frames, size=IMAGE_SIZE)
    return encode_clip(tasks.multitask.encoder, BLOCKS, pixels, np.asarray(truth["times_s"]).tolist())


def interactive_segmenter(tasks: TinyTasks, refinement: Refinement = "merged") -> InteractiveSegmenter:
    """The promptable decoder of the multitask, asked in native pixels."""
    task = tasks.multitask.segmentation.eval()
    return InteractiveSegmenter(task, TaskModel(task.encoder, BLOCKS, IMAGE_SIZE), {}, refinement)


def save_set(tasks: TinyTasks, directory: Path, size: EncoderSize = "tiny") -> Path:
    """Write all bundles of a set by the exports of the recipes."""
    multitask_recipe(size).export(tasks.multitask, directory, PROVENANCE)
    ef_recipe(directory / "encoder", size).export(tasks.ejection_fraction, directory, PROVENANCE)
    return directory
