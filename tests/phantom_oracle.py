"""An interpreter that knows the truth of phantom studies: what the analysis would find with perfect models.

It recognises a clip by its prepared pixels, so that it enters by the same door as trained models, and answers in model
pixels. Deterministic, needs no weights, and every error that remains is the analysis's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echoapex.data.preprocess import PreparedClip, prepare_frames, prepare_labels
from echoapex.domain import ViewPrediction, WallPoint
from echoapex.io.dicom.reader import open_dicom
from echoapex.phantom.study import StudyPlan, write_study
from echoapex.phantom.truth import ClipTruth, StudyTruth, read_label_maps
from echoapex.vocabulary import Structure, View

HELD_OUT_SEED = 1_000_007


def write_labelled_study(folder: Path, views: Sequence[View], seed: int = HELD_OUT_SEED, size: int = 160) -> StudyTruth:
    """A phantom study with label maps of every frame."""
    return write_study(folder, seed, StudyPlan(views=tuple(views), size=size, label_frames="all"))


@dataclass(frozen=True)
class KnownEjection:
    """The true ejection fraction."""

    ef_percent: float
    interval: tuple[float, float]
    relative_volume: np.ndarray


@dataclass(frozen=True, eq=False)
class _KnownClip:
    truth: ClipTruth
    prepared: PreparedClip
    folder: Path


class PhantomOracle:
    """Answers from the truth of the studies it was shown; a clip it never saw looks like nothing."""

    precision = "fp32"

    def __init__(self, input_size: int = 96, confidence: float = 0.95, view_probability: float = 0.9) -> None:
        self.input_size = input_size
        self.digests = {"oracle/encoder": "0" * 64}
        self._confidence = confidence
        self._view_probability = view_probability
        self._clips: dict[str, _KnownClip] = {}
        self._ef: dict[str, float] = {}

    def learn(self, folder: Path, truth: StudyTruth) -> PhantomOracle:
        """Remember a study."""
        for clip in truth.clips:
            prepared = prepare_frames(open_dicom(folder / clip.file), self.input_size)
            key = _key(prepared.pixels)
            self._clips[key] = _KnownClip(clip, prepared, folder)
            self._ef[key] = truth.ejection_fraction_percent
        return self

    def encode(self, pixels: np.ndarray, times_s: Sequence[float]) -> str:
        return _key(pixels)

    def classify_view(self, encoded: str) -> ViewPrediction:
        known = self._clips.get(encoded)
        if known is None:
            return ViewPrediction({view: 1 / len(View) for view in View})
        rest = (1 - self._view_probability) / (len(View) - 1)
        return ViewPrediction({v: self._view_probability if v is known.truth.view else rest for v in View})

    def segment(
        self, encoded: str, rows: Sequence[int], structures: Sequence[Structure]
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        known = self._clips[encoded]
        native = read_label_maps(known.folder / known.truth.label_file)
        for row in rows:
            labels = prepare_labels(native[known.prepared.frame_indices[row]], known.prepared.transform)
            masks = np.stack([(labels == structure).astype(np.float32) for structure in structures])
            yield row, masks, np.full(len(structures), self._confidence, np.float32)

    def find_wall_points(self, encoded: str, rows: Sequence[int]) -> list[tuple[int, np.ndarray, np.ndarray]]:
        known = self._clips[encoded]
        assert known.truth.walls is not None
        native = np.array([known.truth.walls.points_xy[point] for point in WallPoint])
        points = known.prepared.transform.map_points(native)
        return [(row, points, np.full(4, self._confidence)) for row in rows]

    def estimate_ejection_fraction(self, encoded: str) -> KnownEjection:
        known, ef = self._clips[encoded], self._ef[encoded]
        volumes = np.array(known.truth.volumes_ml)[list(known.prepared.frame_indices)]
        return KnownEjection(ef, (max(0.0, ef - 5), min(100.0, ef + 5)), volumes / volumes.max())


def _key(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
