"""A store of prepared clips on disk: square model-ready frames with their labels, read through memory maps.

One shard is a directory with ``frames.npy`` (clips, frames, size, size), ``labels.npy`` (clips, labelled, size, size),
both uint8, and ``truth.npz`` with one row per clip (see ``TRUTH_FIELDS``). A shard appears by one atomic rename, so an
interrupted writer leaves no partial shard, and finished shards are never written again.

``choose_clips`` draws the labelled clips of a few-shot run: whole patients, balanced over views, the same for the same
seed.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8
from pydantic import Field, model_validator

from echoapex.config import Config

TRUTH_FIELDS: dict[str, str] = {
    "view": "int, index into the list of views; -1 unknown",
    "patient": "int, patient number (seed for a phantom)",
    "times_s": "(frames,) float, frame times",
    "relative_volume": "(frames,) float, LV volume over EDV; NaN unknown",
    "ef_percent": "float, ejection fraction; NaN unknown",
    "label_frames": "(labelled,) int, frame number of each label map; -1 none",
    "known_structures": "int, bit s set when structure s is labelled wherever it is present",
    "wall_frame": "int, frame number of the wall points; -1 none",
    "wall_points": "(4, 2) float, x and y in store pixels",
    "mm_per_px": "float, store pixel size; NaN unknown",
}


@dataclass(frozen=True, eq=False)
class ClipShard:
    """One opened shard."""

    frames: UInt8[np.ndarray, "clips frames size size"]
    labels: UInt8[np.ndarray, "clips labelled size size"]
    truth: Mapping[str, Any]


def write_shard(
    directory: Path,
    frames: UInt8[np.ndarray, "clips frames size size"],
    labels: UInt8[np.ndarray, "clips labelled size size"],
    truth: Mapping[str, Any],
) -> None:
    """Write one shard, all or nothing.

    Raises:
        ValueError: a truth field is missing or has another number of clips.
    """
    for name in TRUTH_FIELDS:
        if name not in truth or len(truth[name]) != len(frames):
            raise ValueError(f"{directory.name}: truth field {name!r} is missing or has not one row per clip")
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    np.save(partial / "frames.npy", frames)
    np.save(partial / "labels.npy", labels)
    rows: dict[str, Any] = {name: np.asarray(truth[name]) for name in TRUTH_FIELDS}
    np.savez(partial / "truth.npz", **rows)
    partial.rename(directory)


class PreparedClipSource(Protocol):
    """Numbered clips with their truth: a store, or some clips of one."""

    truth: dict[str, np.ndarray]

    def __len__(self) -> int:
        """Number of clips."""

    def frames(self, clip: int) -> UInt8[np.ndarray, "frames size size"]:
        """All frames of one clip."""

    def labels(self, clip: int) -> UInt8[np.ndarray, "labelled size size"]:
        """The label maps of one clip."""


class ClipStore:
    """All shards below a directory, as one numbered list of clips.

    Attributes:
        directory: where they lie.
        truth: see ``TRUTH_FIELDS``; one row per clip.

    Raises:
        ValueError: the directory holds no shard, or shards differ in frame count or size.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        paths = sorted(path.parent for path in directory.glob("shard-*/truth.npz") if path.parent.suffix == "")
        if not paths:
            raise ValueError(f"{directory}: holds no shard of prepared clips; draw or ingest them first")
        self._shards = [_open_shard(path) for path in paths]
        _require_alike(directory, self._shards)
        counts = [len(shard.frames) for shard in self._shards]
        self._first = np.cumsum([0, *counts])
        self.truth: dict[str, np.ndarray] = {
            name: np.concatenate([shard.truth[name] for shard in self._shards]) for name in TRUTH_FIELDS
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return ClipStore, (self.directory,)  # another process opens its own memory maps

    def __len__(self) -> int:
        return int(self._first[-1])

    def _locate(self, clip: int) -> tuple[ClipShard, int]:
        shard = int(np.searchsorted(self._first, clip, side="right")) - 1
        return self._shards[shard], clip - int(self._first[shard])

    def frames(self, clip: int) -> UInt8[np.ndarray, "frames size size"]:
        """All frames of one clip (a read-only memory map)."""
        shard, row = self._locate(clip)
        frames: UInt8[np.ndarray, "frames size size"] = shard.frames[row]
        return frames

    def labels(self, clip: int) -> UInt8[np.ndarray, "labelled size size"]:
        """The label maps of one clip; row k belongs to frame ``truth["label_frames"][clip, k]``."""
        shard, row = self._locate(clip)
        labels: UInt8[np.ndarray, "labelled size size"] = shard.labels[row]
        return labels


def _require_alike(directory: Path, shards: Sequence[ClipShard]) -> None:
    """Check that all clips of a store have the same shape, since they share batches."""
    shapes = {(shard.frames.shape[1:], shard.labels.shape[1:]) for shard in shards}
    if len(shapes) > 1:
        raise ValueError(f"{directory}: its shards differ in frame count or size {sorted(shapes)}; draw them again")


def _open_shard(path: Path) -> ClipShard:
    with np.load(path / "truth.npz", allow_pickle=False) as archive:
        truth = {name: archive[name] for name in TRUTH_FIELDS}
    return ClipShard(np.load(path / "frames.npy", mmap_mode="r"), np.load(path / "labels.npy", mmap_mode="r"), truth)


class FewShot(Config):
    """How much of the labelled data is used: a number of clips, or a percentage."""

    clips: int | None = Field(default=None, ge=1)
    percent: float | None = Field(default=None, gt=0, le=100)
    seed: int = 0

    @model_validator(mode="after")
    def _one_of_two(self) -> FewShot:
        if (self.clips is None) == (self.percent is None):
            raise ValueError("give either clips or percent")
        return self

    def count_of(self, total: int) -> int:
        """How many of ``total`` clips."""
        if self.clips is not None:
            return self.clips
        assert self.percent is not None
        return max(1, math.ceil(total * self.percent / 100))


class ChosenClips:
    """A subset of the clips of a store, numbered from 0, with the interface of the store."""

    def __init__(self, store: PreparedClipSource, clips: Sequence[int]) -> None:
        self._store = store
        self._clips = list(clips)
        self.truth = {name: values[self._clips] for name, values in store.truth.items()}

    def __len__(self) -> int:
        return len(self._clips)

    def frames(self, clip: int) -> np.ndarray:
        """All frames of one clip."""
        return self._store.frames(self._clips[clip])

    def labels(self, clip: int) -> np.ndarray:
        """The label maps of one clip."""
        return self._store.labels(self._clips[clip])


def choose_clips(stores: Sequence[PreparedClipSource], few: FewShot) -> list[PreparedClipSource]:
    """Choose few clips from several stores together; stores without a chosen clip are dropped.

    Patients are chosen in random order, first those whose views have the fewest clips so far. All clips of a patient
    are taken, so the result can have a few clips more than requested.

    Args:
        stores: of prepared clips; patients of different stores are different people.
        few: how many.
    """
    views: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for number, store in enumerate(stores):
        for clip, patient in enumerate(store.truth["patient"].tolist()):
            views.setdefault((number, patient), []).append((clip, int(store.truth["view"][clip])))
    wanted = few.count_of(sum(len(store) for store in stores))
    rng = np.random.default_rng([few.seed, 401])
    names = sorted(views)
    waiting = [names[index] for index in rng.permutation(len(names))]
    taken: dict[int, int] = {}
    chosen: list[list[int]] = [[] for _ in stores]
    while waiting and sum(map(len, chosen)) < wanted:
        # the first patient whose best-covered view has the fewest clips
        patient = min(waiting, key=lambda each: max(taken.get(view, 0) for _, view in views[each]))
        waiting.remove(patient)
        for clip, view in views[patient]:
            chosen[patient[0]].append(clip)
            taken[view] = taken.get(view, 0) + 1
    return [ChosenClips(store, sorted(clips)) for store, clips in zip(stores, chosen, strict=True) if clips]
