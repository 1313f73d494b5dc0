"""Clips for recipes: the training and validation clips of a data set or of the phantom, as stores of a workspace.

Phantom stores are drawn when they are missing and are shared between the recipes of one workspace.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from echoapex.config import Config
from echoapex.data.datasets import DATASETS, DatasetClip, DatasetError
from echoapex.data.stores.clip_store import ClipStore
from echoapex.data.stores.dataset_store import DatasetStoreConfig, patient_of, write_dataset_store
from echoapex.data.stores.phantom_store import PhantomStoreConfig, draw_phantom_store
from echoapex.data.stores.prepared_set import is_prepared_set, read_origin
from echoapex.models.bundle import Bundle, BundleError, Origin
from echoapex.models.registry import find_set
from echoapex.phantom import SIMULATOR_VERSION
from echoapex.recipes.recipe import Provenance, Workspace
from echoapex.vocabulary import Application


class Splits(NamedTuple):
    """Official splits for training and validation; other splits are never used."""

    training: tuple[str, ...]
    judging: tuple[str, ...]


USUAL_SPLITS = {
    "echonet_dynamic": Splits(("TRAIN",), ("VAL",)),
    "echonet_pediatric": Splits(tuple(map(str, range(8))), ("8",)),
    "tmed2": Splits(("train",), ("val",)),
    "folder": Splits(("train",), ("val",)),
    "corrections": Splits(("train",), ("val",)),
}
"""By data set. The test split is left out everywhere; for EchoNet-Pediatric that is the last fold."""


def starting_bundles(start: str, application: Application) -> tuple[Bundle, Bundle]:
    """Encoder and decoder of one task of the starting set.

    Raises:
        BundleError: there is no such set, it is damaged or lacks this task, or its encoder needs an adapter for it.
    """
    found = find_set(start)
    paths = found.find_task(application.value)
    if paths.set_name != found.name:
        raise BundleError(f"{start}: the set has no decoder for {application.value!r}; start from one that has")
    encoder, decoder, adapter = paths.load()
    if adapter is not None:
        raise BundleError(f"{paths.decoder}: was trained with an adapter; start from a set whose encoder needs none")
    return encoder, decoder


def record_key(record: DatasetClip) -> str:
    """Text that identifies the prepared form of a clip; the size of the file stands for its pixels."""
    traced = [(outline.frame, outline.phase) for outline in record.outlines]
    known = f"{record.view} {record.references} {traced} {[structure.key for structure in record.outlined]}"
    known += f" {[(walls.frame, sorted(walls.points_xy.items())) for walls in record.walls]}" if record.walls else ""
    return f"{record.name} {record.path.stat().st_size} {patient_of(record)} {known}"


_OF_ONES_OWN = ("folder", "corrections")
"""Data sets without an owner's licence; the recipe says what they are."""


class DatasetClips(Config):
    """Where the clips of a recipe are and how they are prepared."""

    dataset: str
    root: Path
    store: DatasetStoreConfig

    def open(
        self,
        has_truth: Callable[[DatasetClip], bool],
        wanted: str,
        workspace: Workspace,
        why_not: Callable[[DatasetClip], str] = lambda record: "",
    ) -> tuple[ClipStore, ClipStore]:
        """Open the clips for training and for validation.

        Args:
            has_truth: whether a clip has the labels that the task needs.
            wanted: these labels in words.
            workspace: where the stores lie.
            why_not: why a clip with that truth is set aside all the same, in words; empty where it is not.

        Raises:
            DatasetError: a list or a clip cannot be read, a part has no clip with the truth, or a patient is in both.
        """
        splits, dataset = USUAL_SPLITS[self.dataset], DATASETS[self.dataset].open(self.root)
        parts: list[list[DatasetClip]] = []
        for part, names in zip(Splits._fields, splits, strict=True):
            records = [record for name in names for record in dataset.records(name)]
            with_truth = [record for record in records if has_truth(record)]
            aside = Counter(reason for record in with_truth if (reason := why_not(record)))
            for reason, count in aside.items():
                workspace.progress(f"{part} clips set aside, {reason}", count, len(with_truth))
            wished = [record for record in with_truth if not why_not(record)]
            chosen = [record for record in wished if record.path.exists()]
            if len(chosen) < len(wished):
                workspace.progress(f"listed {part} clips that are there", len(chosen), len(wished))
            if not chosen:
                besides = "".join(f" ({count} of them set aside, {reason})" for reason, count in aside.items())
                raise DatasetError(
                    f"{self.root}: none of the {len(records)} clips of the split {', '.join(names)} is there and has "
                    f"{wanted}{besides}; check it with 'echoapex datasets verify {self.dataset}'"
                )
            parts.append(chosen)
        both = sorted({patient_of(record) for record in parts[0]} & {patient_of(record) for record in parts[1]})
        if both:
            raise DatasetError(f"{self.root}: {both[0]} both teaches and judges; put each patient in one split")
        training, judging = (
            self._store(name, part, workspace) for name, part in zip(Splits._fields, parts, strict=True)
        )
        return training, judging

    def _store(self, name: str, records: Sequence[DatasetClip], workspace: Workspace) -> ClipStore:
        listed = "\n".join(map(record_key, records))
        text = f"{self.root.resolve()} {self.store.model_dump_json()}\n{listed}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        directory = workspace.directory / "stores" / f"{self.dataset}-{name}-{digest}"
        write_dataset_store(
            records, self.store, directory, lambda done, total: workspace.progress(f"{name} clips", done, total)
        )
        return ClipStore(directory)

    def taught(self, provenance: Provenance) -> Provenance:
        """The training data for the card; a public data set keeps its licence."""
        if self.dataset in _OF_ONES_OWN:
            return provenance
        description = DATASETS[self.dataset]
        split = ", ".join(USUAL_SPLITS[self.dataset].training)
        data = (f"{description.title}; split {split} ({description.citation})",)
        terms = Origin(training_data=data, licence=description.licence, non_commercial=True)
        return provenance.model_copy(update=dict(terms))


def after_prepared_sets(provenance: Provenance, folders: Sequence[Path]) -> Provenance:
    """The provenance with what prepared sets say of their clips; other folders are left to the recipe."""
    told = [read_origin(folder) for folder in folders if is_prepared_set(folder)]
    origins = [Origin(**dict(origin)) for origin in told if origin.licence]
    return provenance.model_copy(update=dict(provenance.origin.after(origins))) if origins else provenance


def open_phantom_store(name: str, config: PhantomStoreConfig, workspace: Workspace) -> ClipStore:
    """Draw the missing part of a store and open it; another configuration or simulator version is another store."""
    directory = workspace.directory / "stores" / f"{name}-{_digest(config)}"
    draw_phantom_store(
        config,
        directory,
        workspace.workers,
        lambda done, total: workspace.progress(f"phantom clips, {name}", done, total),
    )
    return ClipStore(directory)


def _digest(config: PhantomStoreConfig) -> str:
    drawn = f"{SIMULATOR_VERSION} {config.model_dump_json()}"
    return hashlib.sha256(drawn.encode()).hexdigest()[:10]
