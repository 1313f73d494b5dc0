"""Recipe: one encoder trained for views, structures and wall points, with real and simulated frames in every batch.

Each source trains only what it labels: a structure that was not annotated is unknown, not absent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from echoapex.config import Config
from echoapex.data.batch import FrameBatch
from echoapex.data.datasets import DATASETS, DatasetError
from echoapex.data.frame_source import (
    AbsentByView,
    FrameSource,
    FrameSourceConfig,
    HeldBackFrames,
    HeldBackSequence,
    JoinedFrameSource,
)
from echoapex.data.stores.clip_store import ClipStore, PreparedClipSource
from echoapex.data.stores.dataset_store import DatasetStoreConfig, write_camus_store, write_dataset_store
from echoapex.data.stores.prepared_set import open_prepared_set
from echoapex.data.style import StyleBank, StyleConfig
from echoapex.models.bundle import Origin
from echoapex.recipes.camus import CAMUS_LICENCE
from echoapex.recipes.clips import after_prepared_sets, open_phantom_store, record_key
from echoapex.recipes.multitask import DECODERS, MultiTask, MultiTaskRecipe, load_decoders
from echoapex.recipes.recipe import Lineage, Provenance, Workload, Workspace
from echoapex.tasks.task import Cases, Task

_SEEDS_APART = 1009
"""Difference between the seeds of sources, so that no two of them draw the same augmentations."""


_PHANTOM = "phantom"


class RealFrames(Config):
    """A source of real frames, and its part of every batch."""

    dataset: Literal["camus", "folder", "prepared"]
    """``prepared``: a folder with a prepared set, whose ``train`` teaches and whose ``val`` judges; how clips are
    prepared, and who is held back, was decided when it was made."""
    root: Path
    train: frozenset[str] = frozenset({"train"})
    """Splits for training."""
    held_back: int = Field(default=40, ge=0)
    """CAMUS only: this many patients at the end of the training split are used for validation instead."""
    absent_by_view: bool = False
    """Whether structures that a clip's view cannot show are trained as absent. If no real source outlines a structure,
    the model learns that real patients never have it: use this only if each structure is outlined on real frames."""
    store: DatasetStoreConfig = DatasetStoreConfig(frames=8, labelled=4, size=192)
    frames: FrameSourceConfig
    """How frames are drawn; the image size is that of the simulated frames."""

    def open(self, name: str, workspace: Workspace) -> tuple[PreparedClipSource, PreparedClipSource | None]:
        """Open the clips for training and, if there are any, for validation."""
        if self.dataset == "prepared":
            teaching, judging = open_prepared_set(self.root)
            return self._known(teaching), None if judging is None else self._known(judging)
        return self._open_camus(name, workspace) if self.dataset == "camus" else self._open_folder(name, workspace)

    def _open_camus(self, name: str, workspace: Workspace) -> tuple[PreparedClipSource, PreparedClipSource | None]:
        parts = {"train": slice(0, -self.held_back or None)}
        if self.held_back:
            parts["held-back"] = slice(-self.held_back, None)
        opened: list[PreparedClipSource] = []
        for part, patients in parts.items():
            key = f"{name}-{part}-{patients.start}-{patients.stop}-{self.store.size}"
            directory = workspace.directory / "stores" / key
            write_camus_store(self.root, "train", patients, self.store.size, directory)
            opened.append(self._known(ClipStore(directory)))
        return opened[0], opened[1] if len(opened) > 1 else None

    def _known(self, store: ClipStore) -> PreparedClipSource:
        return AbsentByView(store) if self.absent_by_view else store

    def _open_folder(self, name: str, workspace: Workspace) -> tuple[PreparedClipSource, PreparedClipSource | None]:
        dataset = DATASETS["folder"].open(self.root)
        opened: dict[str, PreparedClipSource] = {}
        for part, splits in (("train", sorted(self.train)), ("val", ["val"])):
            records = [record for split in splits for record in dataset.records(split)]
            if not records:
                continue
            listed = "\n".join(map(record_key, records))
            digest = hashlib.sha256(f"{self.root.resolve()} {self.store.model_dump_json()}\n{listed}".encode())
            directory = workspace.directory / "stores" / f"{name}-{part}-{digest.hexdigest()[:10]}"
            write_dataset_store(records, self.store, directory, partial(workspace.progress, f"{name}, {part}"))
            opened[part] = self._known(ClipStore(directory))
        if "train" not in opened:
            raise DatasetError(f"{self.root}: no clip of the split {', '.join(sorted(self.train))}; fill in the column")
        return opened["train"], opened.get("val")


class JointRecipe(MultiTaskRecipe):
    """Like a multitask recipe, with real frames in addition to simulated ones."""

    kind: Literal["joint"] = "joint"  # type: ignore[assignment]
    real: dict[str, RealFrames] = Field(min_length=1)
    style: StyleConfig | None = StyleConfig()
    """Gives simulated frames the style of real ones from these sources; None: no change."""
    decoders: Path | None = None
    """A set of the same architecture whose decoders are the start, on the encoder of ``encoder_bundle``."""
    merged: bool = True
    """Whether the adapter is merged into the encoder at the end, so that one encoder serves all tasks."""

    @model_validator(mode="after")
    def _decoders_need_an_encoder(self) -> JointRecipe:
        if self.decoders is not None and self.encoder_bundle is None:
            raise ValueError("decoders go on with another encoder: set encoder_bundle, or use start instead")
        return self

    def build(self, workspace: Workspace) -> Workload:
        """Prepare the stores that are missing and build the task."""
        task = self.build_task()
        opened = {name: source.open(name, workspace) for name, source in self.real.items()}
        style = StyleBank([teaching for teaching, _ in opened.values()], self.style) if self.style else None
        drawn = [open_phantom_store(name, config, workspace) for name, config in self.stores.items()]
        sources = [FrameSource(drawn, self.frames, style=style)]
        for number, (name, source) in enumerate(self.real.items(), start=1):
            seed = source.frames.seed + _SEEDS_APART * number
            own = source.frames.model_copy(update={"seed": seed, "sizes": self.frames.sizes})
            sources.append(FrameSource([opened[name][0]], own))
        judging: dict[str, PreparedClipSource] = {
            _PHANTOM: open_phantom_store("validation", self.validation, workspace)
        }
        judging |= {name: held_back for name, (_, held_back) in opened.items() if held_back is not None}
        size = self.frames.sizes[-1][1]
        validation = HeldBackSequence([HeldBackFrames(one, size, self.validation_batch) for one in judging.values()])
        task.origins = tuple(judging)
        return Workload(task, JoinedFrameSource(sources), validation, len(validation))

    def build_task(self) -> JointTask:
        """The task with fresh weights, or with the starting weights."""
        task = super().build_task()
        if self.decoders is not None:
            load_decoders(task, self.decoders)
        joint = JointTask(task.view, task.segmentation, task.wall, task.weights, task.volume)
        joint.adapter = task.adapter
        return joint

    def starts(self) -> Sequence[Path]:
        """Those of a multitask recipe, and the decoders."""
        decoders = [] if self.decoders is None else [self.decoders / application.value for application in DECODERS]
        return [*super().starts(), *decoders]

    def learned_from(self, provenance: Provenance) -> Provenance:
        """Weights trained on CAMUS or a prepared set always carry its licence."""
        prepared = [source.root for source in self.real.values() if source.dataset == "prepared"]
        provenance = after_prepared_sets(provenance, prepared)
        if all(source.dataset != "camus" for source in self.real.values()):
            return provenance
        camus = Origin(training_data=(), licence=CAMUS_LICENCE, non_commercial=True)
        return provenance.model_copy(update=dict(provenance.origin.after([camus])))

    def write(self, task: Task, directory: Path, lineage: Lineage) -> None:
        """Like a multitask recipe; the adapter is merged into the encoder if the recipe says so."""
        assert isinstance(task, MultiTask)
        if self.merged and task.adapter is not None:
            task.adapter.merge_into(task.encoder)
            task.adapter = None
        super().write(task, directory, lineage)


class JointTask(MultiTask):
    """Several tasks with separate validation scores for each source of frames.

    Attributes:
        origins: names of the validation sources, in the order of their numbers in a batch.
    """

    origins: Sequence[str] = ()

    def cases(self, batch: FrameBatch) -> Cases:
        """The cases of all tasks, each under the name of its source."""
        found = super().cases(batch)
        own = int(batch.origin[0])
        return {
            f"{origin}/{name}": rows if number == own else rows[:0]
            for number, origin in enumerate(self.origins)
            for name, rows in found.items()
        }

    def summarise(self, cases: Cases) -> dict[str, float]:
        """The scores of each source; the temperature of the views comes from real frames, if there are any."""
        figures: dict[str, float] = {}
        patients: dict[str, list[Tensor]] = {}
        for origin in self.origins:
            own = {name.partition("/")[2]: rows for name, rows in cases.items() if name.startswith(f"{origin}/")}
            figures |= {f"{origin}/{name}": value for name, value in super().summarise(own).items()}
            if origin != _PHANTOM or len(self.origins) == 1:
                for name in ("view_logits", "view_truth"):
                    patients.setdefault(name, []).append(own[name])
        pooled = self.view.summarise({name: torch.cat(rows) for name, rows in patients.items()})
        return figures | {name: pooled[name] for name in ("view_temperature",) if name in pooled}
