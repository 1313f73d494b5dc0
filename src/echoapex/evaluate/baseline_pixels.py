"""The baseline that every view classifier must beat: principal components of small frames and logistic regression.

The baseline knows nothing about the heart. What it gets right is explained by sector shape, depth and mean brightness.
It is fitted on frames of phantom patients for training, and scored on the same files as the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float, UInt8
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from echoapex.data.preprocess import prepare_frames, prepare_image
from echoapex.evaluate.cases import NO_VIEW, ViewCase
from echoapex.evaluate.truth import phantom_patient
from echoapex.io.clip_source import ReadError
from echoapex.io.dicom.reader import open_dicom
from echoapex.phantom import simulate_clip
from echoapex.phantom.truth import is_held_out, read_truth
from echoapex.vocabulary import View

FRAME_SIZE = 32
FRAMES_PER_CLIP = 4
_SIMULATED_SIZE = 160
_COMPONENTS = 80

Frames = UInt8[np.ndarray, "frames size size"]


class BaselineError(ValueError):
    """The baseline must not be fitted or scored in this way; the message says why."""


@dataclass(frozen=True)
class PixelBaseline:
    """A fitted baseline; ``views`` are its classes."""

    pipeline: Pipeline

    @classmethod
    def fit(cls, frames: Frames, views: Sequence[View]) -> Self:
        """Fit the baseline on frames ``(n, 32, 32)``, with one view per frame."""
        components = min(_COMPONENTS, len(frames) - 1)
        pipeline = make_pipeline(
            PCA(components, random_state=0), StandardScaler(), LogisticRegression(C=0.1, max_iter=500)
        )
        pipeline.fit(_as_rows(frames), [view.value for view in views])
        return cls(pipeline)

    def predict_view(self, frames: Frames) -> View:
        """The view with the highest mean log probability over the frames of one clip."""
        mean = self.pipeline.predict_log_proba(_as_rows(frames)).mean(axis=0)
        return View(self.pipeline.classes_[int(mean.argmax())])


def fit_pixel_baseline(seeds: Sequence[int], views: Sequence[View] = tuple(View)) -> PixelBaseline:
    """Simulate one short clip per training patient and view, and fit the baseline on the frames.

    Raises:
        BaselineError: a seed is held out for evaluation.
    """
    forbidden = [seed for seed in seeds if is_held_out(seed)]
    if forbidden:
        raise BaselineError(f"seed {forbidden[0]} is held out for evaluation; fit on seeds below 1,000,000")
    pairs = [(view, frame) for seed in seeds for view in views for frame in _training_frames(view, seed)]
    return PixelBaseline.fit(np.stack([frame for _, frame in pairs]), [view for view, _ in pairs])


def classify_phantom_studies(baseline: PixelBaseline, folders: Sequence[Path]) -> Iterator[ViewCase]:
    """Classify all clips of phantom study folders from their DICOM files; an unreadable clip gets no view."""
    for folder in folders:
        truth = read_truth(folder)
        for clip in truth.clips:
            try:
                prepared = prepare_frames(open_dicom(folder / clip.file), FRAME_SIZE, max_frames=FRAMES_PER_CLIP)
                predicted = baseline.predict_view(prepared.pixels).value
            except ReadError:
                predicted = NO_VIEW
            yield ViewCase(phantom_patient(truth.seed), f"{folder.name}/{clip.file}", clip.view, predicted)


def _training_frames(view: View, seed: int) -> list[UInt8[np.ndarray, "size size"]]:
    clip = simulate_clip(view, seed, size=_SIMULATED_SIZE, frames=FRAMES_PER_CLIP)
    return [prepare_image(frame, clip.sector, FRAME_SIZE)[0] for frame in clip.frames]


def _as_rows(frames: Frames) -> Float[np.ndarray, "frames pixels"]:
    """Each frame as a row with mean 0 and standard deviation 1, so that gain is not a feature."""
    rows = frames.reshape(len(frames), -1).astype(np.float64)
    rows -= rows.mean(axis=1, keepdims=True)
    scaled: Float[np.ndarray, "frames pixels"] = rows / np.maximum(rows.std(axis=1, keepdims=True), 1e-6)
    return scaled
