"""What recipes have in common that teach one frame task from the clips of a data set, starting from a trained set.

The start may have an adapter for the task. A run with the same kind of adapter goes on from it, so that one round of
learning follows another.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from echoapex.data.datasets import DatasetClip
from echoapex.data.frame_source import FrameSource, FrameSourceConfig, HeldBackFrames
from echoapex.data.stores.clip_store import FewShot, PreparedClipSource, choose_clips
from echoapex.data.stores.dataset_store import DatasetStoreConfig
from echoapex.models.bundle import Bundle, BundleError, read_card
from echoapex.models.registry import TaskPaths, find_set
from echoapex.recipes.clips import DatasetClips
from echoapex.recipes.recipe import LearningSetting, Provenance, TaskRecipe, Workload, Workspace
from echoapex.tasks.task import Task
from echoapex.vocabulary import Application


class DatasetTaskRecipe(TaskRecipe):
    """Where the clips and the starting set are, and how frames are drawn."""

    application: ClassVar[Application]
    wanted: ClassVar[str]
    """The labels that a clip needs, in words."""

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
    def build_task(self) -> Task:
        """The task with the weights of the starting set.

        Raises:
            BundleError: there is no such set, it is damaged, or it has an adapter of another kind than the setting.
        """

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
