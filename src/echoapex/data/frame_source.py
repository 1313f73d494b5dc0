"""Batches of single frames from prepared clips: balanced over views, augmented, a pure function of the step.

Training, validation and probing have a source each: ``FrameSource`` augments, ``HeldBackFrames`` gives every labelled
frame once, ``ProbeSource`` gives whole frames of known views on which pretraining is evaluated.

``AbsentByView`` labels the structures that a view cannot show as absent, even where nobody outlined anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import numpy as np
import torch
from jaxtyping import UInt8
from pydantic import Field, model_validator

from echoapex.config import Config
from echoapex.data.augment import Appearance, AugmentConfig, Warp, plain_warp, random_warp
from echoapex.data.batch import FrameBatch, ProbeBatch, balanced_example, own_places
from echoapex.data.stores.clip_store import PreparedClipSource
from echoapex.data.stores.frame_reader import ClipStoreReader
from echoapex.data.style import StyleBank
from echoapex.data.tissue import TissueConfig, TissueContrast
from echoapex.vocabulary import VISIBLE_STRUCTURES, Structure, View


class FrameSourceConfig(Config):
    """How frames are drawn."""

    batch_size: int = Field(default=48, ge=1)
    frames_per_clip: int = Field(default=1, ge=1)
    """Number of frames per clip, with the same augmentation; a batch holds whole clips."""
    sizes: tuple[tuple[int, int], ...] = ((0, 160),)
    """(first step, side in pixels): small images first, then the final size."""
    emphasis: dict[View, int] = Field(default_factory=dict)
    """How many times as often as other views a view is drawn."""
    wall_probability: float = 0.7
    """Probability that a clip with wall points gives the frame that has them."""
    seed: int = 0
    augment: AugmentConfig = AugmentConfig()
    later_augment: dict[int, AugmentConfig] = Field(default_factory=dict)
    """Other augmentation strengths from a given step on."""
    tissue: TissueConfig | None = None
    """Other contrasts of the labelled tissues, for frames in which every structure is labelled; None: no change."""

    @model_validator(mode="after")
    def _holds_whole_clips(self) -> FrameSourceConfig:
        if self.batch_size % self.frames_per_clip:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of frames_per_clip {self.frames_per_clip}; make it one"
            )
        return self

    def size_at(self, step: int) -> int:
        """Side of the images at a step."""
        return max((first, side) for first, side in self.sizes if first <= step)[1]

    def augment_at(self, step: int) -> AugmentConfig:
        """Strengths of the augmentation at a step."""
        started = [first for first in self.later_augment if first <= step]
        return self.later_augment[max(started)] if started else self.augment


class FrameSource:
    """Training batches; ``batch(step)`` depends on the seed and the step only.

    Args:
        stores: of prepared clips.
        config: how frames are drawn.
        places: which clips of every batch are given; by default all.
        style: gives frames the style of others before anything else; None leaves theirs.
    """

    def __init__(
        self,
        stores: Sequence[PreparedClipSource],
        config: FrameSourceConfig,
        places: range | None = None,
        style: StyleBank | None = None,
    ) -> None:
        self._config = config
        self._places = range(config.batch_size // config.frames_per_clip) if places is None else places
        self._stores = stores
        self._style = style
        self._examples = [(store, clip) for store in stores for clip in range(len(store))]
        views = np.concatenate([store.truth["view"] for store in stores])
        self._groups = _balanced_groups(views, config.emphasis)

    def share(self, rank: int, count: int) -> FrameSource:
        """The clips of every batch that belong to process ``rank`` of ``count``.

        Raises:
            ValueError: the clips of a batch cannot be divided evenly.
        """
        clips = self._config.batch_size // self._config.frames_per_clip
        places = own_places(clips, rank, count, "task.frames.batch_size over frames_per_clip")
        return FrameSource(self._stores, self._config, places, self._style)

    def batch(self, step: int) -> FrameBatch:
        """The batch of a step."""
        config = self._config
        size, augment = config.size_at(step), config.augment_at(step)
        clips = config.batch_size // config.frames_per_clip
        return _collect(
            [row for number in self._places for row in self._clip(step * clips + number, number, size, augment)]
        )

    def _clip(self, position: int, number: int, size: int, augment: AugmentConfig) -> list[dict[str, np.ndarray]]:
        """The frames of a clip; ``position`` counts over all epochs, ``number`` within the batch."""
        config = self._config
        store, clip = self._examples[balanced_example(config.seed, position, self._groups)]
        rng = np.random.default_rng([config.seed, 101, position])
        chosen = self._frames(store, clip, rng)
        warp = random_warp(rng, store.frames(clip).shape[-1], size, augment)
        scanner = Appearance(rng, size, augment)
        shown = [_frame(store, clip, frame, warp) | {"clip": np.asarray(number)} for frame in chosen]
        return [each | {"pixels": scanner(self._styled(each, rng), rng)} for each in shown]

    def _styled(self, row: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
        image = row["pixels"]
        if self._config.tissue is not None and row["structure_known"].all():
            apical = list(View)[int(row["view"])].is_apical
            image = TissueContrast(self._config.tissue)(image, row["labels"], rng, apical=apical)
        return image if self._style is None else self._style(image, rng)

    def _frames(self, store: PreparedClipSource, clip: int, rng: np.random.Generator) -> list[int]:
        """Which frames of a clip to use: labelled ones, and often the one with wall points."""
        truth = store.truth
        wall_frame = int(truth["wall_frame"][clip])
        first = [wall_frame] if wall_frame >= 0 and rng.random() < self._config.wall_probability else []
        others = _labelled_frames(truth["label_frames"][clip], len(store.frames(clip)))
        wanted = self._config.frames_per_clip - len(first)
        if not wanted:
            return first
        others = others[~np.isin(others, first)] if len(others) > wanted else others
        if wanted == 1:
            return [*first, int(rng.choice(others))]
        return first + [int(frame) for frame in rng.choice(others, wanted, replace=len(others) < wanted)]


class HeldBackFrames:
    """Validation batches: each labelled frame exactly once, at model size, without augmentation.

    The labelled frames of a clip are those with label maps and the one with wall points. If only the view of a clip is
    known, all its frames count. The frames of a clip stay in one batch.

    Args:
        store: of the held-back clips.
        size: side of the frames as the encoder sees them, in pixels.
        batch_size: largest number of frames in a batch, except for a clip with more frames.
    """

    def __init__(self, store: PreparedClipSource, size: int, batch_size: int) -> None:
        self._store = store
        self._size = size
        self._batches: list[list[tuple[int, list[int]]]] = []
        room = 0
        for clip in range(len(store)):
            frames = _frames_with_truth(store, clip)
            if len(frames) > room or not self._batches:
                self._batches.append([])
                room = batch_size
            self._batches[-1].append((clip, frames))
            room -= len(frames)

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def frames(self) -> int:
        """Frames of all batches together."""
        return sum(len(frames) for batch in self._batches for _, frames in batch)

    def batch(self, step: int) -> FrameBatch:
        """The batch of a number from 0 to the number of batches less one."""
        rows = []
        for number, (clip, frames) in enumerate(self._batches[step]):
            warp = plain_warp(self._store.frames(clip).shape[-1], self._size)
            rows += [_frame(self._store, clip, frame, warp) | {"clip": np.asarray(number)} for frame in frames]
        return _collect(rows)


def _collect(rows: Sequence[dict[str, np.ndarray]]) -> FrameBatch:
    return FrameBatch(**{name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]})


def _frame(store: PreparedClipSource, clip: int, frame: int, warp: Warp) -> dict[str, np.ndarray]:
    """A frame and its labels at model size."""
    truth = store.truth
    labels, known = _labels_of(store, clip, frame, warp)
    return {
        "pixels": warp.image(np.ascontiguousarray(store.frames(clip)[frame])),
        "view": np.int64(truth["view"][clip]),
        "labels": labels,
        "structure_known": known,
        "wall_points": np.nan_to_num(warp.points(truth["wall_points"][clip])).astype(np.float32),
        "has_walls": np.bool_(frame == int(truth["wall_frame"][clip])),
        "relative_volume": np.float32(truth["relative_volume"][clip][frame]),
        "origin": np.int64(0),
    }


def _frames_with_truth(store: PreparedClipSource, clip: int) -> list[int]:
    """The frames of a clip with labels for validation, in order."""
    labelled = set(_labelled_frames(store.truth["label_frames"][clip], len(store.frames(clip))).tolist())
    wall_frame = int(store.truth["wall_frame"][clip])
    return sorted(labelled | ({wall_frame} if wall_frame >= 0 else set()))


class JoinedFrameSource:
    """Concatenated batches of several sources, so that each source has a fixed part of every batch."""

    def __init__(self, sources: Sequence[FrameSource]) -> None:
        self._sources = list(sources)

    def share(self, rank: int, count: int) -> JoinedFrameSource:
        """The part of every batch that belongs to process ``rank`` of ``count``: its part of every source.

        Raises:
            ValueError: the clips of a source cannot be divided evenly.
        """
        return JoinedFrameSource([source.share(rank, count) for source in self._sources])

    def batch(self, step: int) -> FrameBatch:
        """The batch of a step; clips are renumbered, ``origin`` is the number of the source."""
        parts = [_from(source.batch(step), number) for number, source in enumerate(self._sources)]
        joined = {f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(FrameBatch)}
        counts = torch.tensor([0, *(int(part.clip.max()) + 1 for part in parts[:-1])]).cumsum(0)
        joined["clip"] = torch.cat([part.clip + first for part, first in zip(parts, counts, strict=True)])
        return FrameBatch(**joined)


class HeldBackSequence:
    """The validation batches of several sources, one source after the other; ``origin`` is the source's number."""

    def __init__(self, sources: Sequence[HeldBackFrames]) -> None:
        self._places = [(number, within) for number, source in enumerate(sources) for within in range(len(source))]
        self._sources = list(sources)

    def __len__(self) -> int:
        return len(self._places)

    def batch(self, step: int) -> FrameBatch:
        """The batch of a number from 0 to the number of batches less one."""
        number, within = self._places[step]
        return _from(self._sources[number].batch(within), number)


def _from(batch: FrameBatch, origin: int) -> FrameBatch:
    return replace(batch, origin=torch.full_like(batch.origin, origin))


def _balanced_groups(views: np.ndarray, emphasis: Mapping[View, int]) -> list[list[int]]:
    groups = []
    for number in np.unique(views):
        members = np.flatnonzero(views == number).tolist()
        turns = emphasis.get(list(View)[number], 1) if number >= 0 else 1
        groups.extend([members] * turns)
    return groups


def _labelled_frames(label_frames: np.ndarray, frame_count: int) -> np.ndarray:
    """The frames with a label map; all frames for a clip without any, which trains only the view."""
    labelled = label_frames[label_frames >= 0]
    return labelled if labelled.size else np.arange(frame_count)


def _labels_of(store: PreparedClipSource, clip: int, frame: int, warp: Warp) -> tuple[np.ndarray, np.ndarray]:
    """The warped label map of a frame, and the structures that it labels; none for an unlabelled frame."""
    known = np.zeros(len(Structure), bool)
    row = np.flatnonzero(store.truth["label_frames"][clip] == frame)
    if row.size == 0:
        return np.zeros((warp.size, warp.size), np.uint8), known
    bits = int(store.truth["known_structures"][clip])
    for structure in Structure:
        known[structure - 1] = bool(bits >> structure & 1)
    return warp.labels(np.ascontiguousarray(store.labels(clip)[row[0]])), known


def whole_frames(store: PreparedClipSource, clip: int, size: int) -> np.ndarray:
    """All frames of a clip at model size, without augmentation, ``(frames, size, size)`` uint8."""
    frames = store.frames(clip)
    warp = plain_warp(frames.shape[-1], size)
    return np.stack([warp.image(np.ascontiguousarray(frame)) for frame in frames])


class AbsentByView:
    """A store in which structures that the view of a clip cannot show are labelled as absent.

    Existing outlines are kept. In a clip without outlines every frame gets an empty label map, in which structures that
    the view may show stay unknown. A clip of unknown view is not changed.

    Args:
        store: the clips.
    """

    def __init__(self, store: PreparedClipSource) -> None:
        self._store = store
        views, known = store.truth["view"], store.truth["known_structures"].copy()
        label_frames = store.truth["label_frames"]
        frames = len(store.frames(0)) if len(store) else 0
        padded = np.full((len(store), max(frames, label_frames.shape[1])), -1)
        padded[:, : label_frames.shape[1]] = label_frames
        for clip, view in enumerate(views):
            if view < 0:
                continue
            if not (label_frames[clip] >= 0).any():
                known[clip] = 0
                padded[clip, :frames] = np.arange(frames)
            known[clip] |= _absent_bits(list(View)[view])
        self.truth = {**store.truth, "known_structures": known, "label_frames": padded}

    def __len__(self) -> int:
        return len(self._store)

    def frames(self, clip: int) -> UInt8[np.ndarray, "frames size size"]:
        """All frames of one clip."""
        return self._store.frames(clip)

    def labels(self, clip: int) -> UInt8[np.ndarray, "labelled size size"]:
        """The label maps of one clip, empty where nothing was outlined."""
        given = self._store.labels(clip)
        maps = np.zeros((self.truth["label_frames"].shape[1], *given.shape[1:]), np.uint8)
        maps[: len(given)] = given
        return maps


def _absent_bits(view: View) -> int:
    return sum(1 << int(structure) for structure in Structure if structure not in VISIBLE_STRUCTURES[view])


class ProbeSource:
    """Batches of whole frames, without augmentation, on which pretraining is evaluated.

    The frames are distributed evenly, so that every batch contains every view that the clips have.

    Args:
        reader: frames with their views and clips.
        batch_size: frames of a batch; the last batch may have fewer.
        side: side of the frames as the encoder sees them, in pixels.
    """

    def __init__(self, reader: ClipStoreReader, batch_size: int, side: int) -> None:
        self._reader = reader
        self._side = side
        self.batches = -(-len(reader) // batch_size)

    def batch(self, step: int) -> ProbeBatch:
        """The batch of a number from 0 to ``batches`` - 1."""
        reader = self._reader
        rows = np.arange(step, len(reader), self.batches)
        frames = reader.take(rows.tolist())
        warped = [plain_warp(frame.shape[-1], self._side).image(np.ascontiguousarray(frame)) for frame in frames]
        return ProbeBatch(
            pixels=torch.from_numpy(np.stack(warped)),
            view=torch.from_numpy(reader.view[rows]),
            clip=torch.from_numpy(reader.clip[rows]),
        )
