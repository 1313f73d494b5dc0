"""Prepares the clips of a public data set, or of a user's own, as a clip store: view, ejection fraction, label maps.

CAMUS is prepared per patient and view: the ED and the ES frame with their outlines.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from echoapex.config import Config
from echoapex.data.datasets.camus import (
    PHASES,
    STRUCTURES,
    VIEW_NAMES,
    CamusDataset,
    CamusError,
    CamusImage,
    open_camus,
    select_patients,
)
from echoapex.data.datasets.camus_patient import CamusPatient
from echoapex.data.datasets.records import DatasetClip, DatasetError
from echoapex.data.preprocess import PreparedClip, prepare_frames, prepare_image, prepare_labels
from echoapex.data.stores.clip_store import write_shard
from echoapex.domain import WallPoint
from echoapex.io.clip_source import ReadError
from echoapex.io.sector import find_sector
from echoapex.vocabulary import Quantity, View

_CLIPS_PER_SHARD = 60
_MOST_FRAMES = 1024
_KNOWN = sum(1 << int(structure) for structure in STRUCTURES)


class DatasetStoreConfig(Config):
    """How clips are prepared."""

    frames: int = Field(default=16, ge=1)
    """Frames per clip; a shorter clip repeats some of them."""
    span_s: float = Field(default=2.0, gt=0)
    """Length in s of the part of a clip from which frames are taken: at least a beat."""
    size: int = Field(default=192, ge=16)
    """Side of a stored frame in pixels."""
    labelled: int = Field(default=1, ge=1)
    """Largest number of label maps per clip, spread over its outlined frames."""

    @model_validator(mode="after")
    def _frames_hold_labels(self) -> DatasetStoreConfig:
        if self.labelled > self.frames:
            raise ValueError(f"labelled is {self.labelled}, but only {self.frames} frames are kept; raise frames")
        return self


def write_dataset_store(
    records: Sequence[DatasetClip],
    config: DatasetStoreConfig,
    directory: Path,
    on_clip: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Prepare clips as a store, unless it exists; continues an interrupted call.

    Frames go through the same sector search and crop as in analysis. Where end-diastole and end-systole were traced,
    both frames are taken, and the volume curve is known there: 1, and 1 less the ejection fraction.

    Args:
        records: the clips; they must exist.
        config: how they are prepared.
        directory: the store; its name has to tell these records and this config from others.
        on_clip: is told how many are done, of how many.

    Raises:
        DatasetError: a clip cannot be read.
    """
    if directory.exists():
        return
    patients = {name: number for number, name in enumerate(sorted({patient_of(record) for record in records}))}
    partial = directory.with_name(directory.name + ".partial")
    for first in range(0, len(records), _CLIPS_PER_SHARD):
        chunk = records[first : first + _CLIPS_PER_SHARD]
        shard = partial / f"shard-{first // _CLIPS_PER_SHARD:05d}"
        if shard.exists():
            on_clip(first + len(chunk), len(records))
            continue
        frames = np.zeros((len(chunk), config.frames, config.size, config.size), np.uint8)
        labels = np.zeros((len(chunk), config.labelled, config.size, config.size), np.uint8)
        rows = []
        for number, record in enumerate(chunk):
            rng = np.random.default_rng([11, first + number])
            row = _prepare(record, config, (frames[number], labels[number]), rng)
            rows.append(row | {"patient": patients[patient_of(record)]})
            on_clip(first + number + 1, len(records))
        truth = {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}
        write_shard(shard, frames, labels, truth)
    partial.rename(directory)


def patient_of(record: DatasetClip) -> str:
    """The patient; if the data set does not tell it, each clip counts as one patient."""
    return record.patient or record.name


def _prepare(
    record: DatasetClip, config: DatasetStoreConfig, stored: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> dict[str, Any]:
    """Fill the pixels and label maps of one clip and return its truth row."""
    from echoapex.io.study_files import open_only_clip  # training from prepared clips needs no video or DICOM library

    frames, labels = stored
    try:
        clip = prepare_frames(open_only_clip(record.path), config.size, max_frames=_MOST_FRAMES)
    except ReadError as error:
        raise DatasetError(f"{record.name}: {error.reason}; take it out of the list, or download it again") from error
    traced = {outline.phase: outline.frame for outline in record.outlines if outline.frame in clip.frame_indices}
    marks = {phase: clip.frame_indices.index(frame) for phase, frame in traced.items() if phase}
    maps = _chosen_maps(record, config.labelled, clip.frame_indices)
    wall_row, wall_points = _chosen_walls(record, clip)
    kept = {*marks.values(), *maps}
    if wall_row >= 0 and len(kept | {wall_row}) > config.frames:  # outlines come first where there is no room
        wall_row, wall_points = -1, np.full((4, 2), np.nan)
    times_s = np.array(clip.frame_times_s)
    rows = choose_rows(times_s, sorted(kept | ({wall_row} if wall_row >= 0 else set())), config, rng)
    frames[:] = clip.pixels[rows]
    label_frames = np.full(config.labelled, -1)
    for number, (mark, labelled) in enumerate(maps.items()):
        labels[number] = prepare_labels(labelled, clip.transform)
        label_frames[number] = int(np.flatnonzero(rows == mark)[0])
    ef_percent = record.value(Quantity.LVEF)
    volume = np.full(len(rows), np.nan)
    if ef_percent is not None and set(marks) == {"ED", "ES"}:
        volume[rows == marks["ED"]], volume[rows == marks["ES"]] = 1.0, 1 - ef_percent / 100
    return {
        "view": -1 if record.view is None else list(View).index(record.view),
        "times_s": times_s[rows] - times_s[rows[0]],
        "relative_volume": volume,
        "ef_percent": np.nan if ef_percent is None else ef_percent,
        "label_frames": label_frames,
        "known_structures": sum(1 << int(structure) for structure in record.outlined) if maps else 0,
        "wall_frame": int(np.flatnonzero(rows == wall_row)[0]) if wall_row >= 0 else -1,
        "wall_points": wall_points,
        "mm_per_px": np.nan,
    }


def _chosen_walls(record: DatasetClip, clip: PreparedClip) -> tuple[int, np.ndarray]:
    """Row and points (4, 2) in model pixels of the first frame with wall points; -1 and NaN where there is none."""
    for walls in record.walls:
        if walls.frame in clip.frame_indices:
            points = np.array([walls.points_xy[point] for point in WallPoint], float)
            return clip.frame_indices.index(walls.frame), clip.transform.map_points(points)
    return -1, np.full((4, 2), np.nan)


def _chosen_maps(record: DatasetClip, most: int, frames: Sequence[int]) -> dict[int, np.ndarray]:
    """Label maps by row of the prepared clip, at most so many, spread over the outlined frames."""
    if not record.outlined:
        return {}
    maps = {frames.index(frame): labels for frame, labels in record.read_labels().items() if frame in frames}
    if not maps:
        return {}
    places = sorted(maps)
    kept = np.unique(np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int))
    return {places[place]: maps[places[place]] for place in kept}


def choose_rows(
    times_s: np.ndarray, marks: Sequence[int], config: DatasetStoreConfig, rng: np.random.Generator
) -> np.ndarray:
    """Rows of a clip, ascending: ``frames`` of them over ``span_s``, with every marked row among them.

    The part starts at a random time such that it fits and contains the marked rows; so no phase of the beat is always
    first.

    >>> rows = choose_rows(np.arange(100) / 50, [40, 55], DatasetStoreConfig(frames=4), np.random.default_rng(0))
    >>> rows.tolist()
    [0, 40, 55, 99]
    """
    lowest = int(np.searchsorted(times_s, times_s[marks[-1]] - config.span_s)) if marks else 0
    fits = int(np.searchsorted(times_s, times_s[-1] - config.span_s, side="right")) - 1
    highest = max(lowest, min(marks[0], fits) if marks else fits)
    first = int(rng.integers(lowest, highest + 1))
    last = int(np.searchsorted(times_s, times_s[first] + config.span_s, side="right")) - 1
    rows = np.linspace(first, max(last, *marks, first), config.frames).round().astype(int)
    for mark in marks:
        free = np.where(np.isin(rows, [other for other in marks if other != mark]), len(times_s), np.abs(rows - mark))
        rows[int(free.argmin())] = mark
    return np.sort(rows)


def write_camus_store(root: Path, split: str, patients: slice, size: int, directory: Path) -> None:
    """Prepare some patients of a split as a store, unless it exists.

    Frames go through the same sector search and crop as in analysis.

    Args:
        root: CAMUS in either layout.
        split: official split.
        patients: which of its patients, in the order of their names.
        size: side of the stored frames in pixels.
        directory: the store.

    Raises:
        CamusError: the data set cannot be read, or no such patient has outlines.
    """
    if directory.exists():
        return
    dataset = open_camus(root)
    clips = [
        images
        for patient in select_patients(dataset, split)[patients]
        for view in VIEW_NAMES
        if len(images := _images(dataset, patient, view)) == len(PHASES)
    ]
    if not clips:
        raise CamusError(f"{root}: none of the chosen patients of the split {split!r} has an outlined ED and ES frame")
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for first in range(0, len(clips), _CLIPS_PER_SHARD):
        _write(clips[first : first + _CLIPS_PER_SHARD], size, partial / f"shard-{first // _CLIPS_PER_SHARD:05d}")
    partial.rename(directory)


def _images(dataset: CamusDataset, patient: CamusPatient, view: View) -> list[CamusImage]:
    found = (dataset.read_image(patient, view, phase) for phase in PHASES)
    return [image for image in found if image is not None]


def _write(clips: Sequence[Sequence[CamusImage]], size: int, path: Path) -> None:
    frames = np.zeros((len(clips), len(PHASES), size, size), np.uint8)
    labels = np.zeros_like(frames)
    rows = [_prepare_view(images, frames[number], labels[number]) for number, images in enumerate(clips)]
    write_shard(path, frames, labels, {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]})


def _prepare_view(images: Sequence[CamusImage], frames: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Fill the pixels of one clip and return its truth row."""
    sector = find_sector(np.stack([image.pixels for image in images]))
    for row, image in enumerate(images):
        frames[row], transform = prepare_image(image.pixels, sector, frames.shape[-1])
        labels[row] = prepare_labels(image.labels, transform)
    patient = images[0].patient
    return {
        "view": list(View).index(images[0].view),
        "patient": int("".join(filter(str.isdigit, patient.name))),
        "times_s": np.arange(len(images), dtype=float),
        "relative_volume": np.full(len(images), np.nan),
        "ef_percent": np.nan if patient.ejection_fraction_percent is None else patient.ejection_fraction_percent,
        "label_frames": np.arange(len(images)),
        "known_structures": _KNOWN,
        "wall_frame": -1,
        "wall_points": np.full((4, 2), np.nan),
        "mm_per_px": np.nan,
    }
