"""The interface between analysis and models, in plain numpy: encode a clip once, then ask as many questions as needed.

The analysis depends on the protocol ``Interpreter`` only, so it can be read and tested without any weights. The
implementation runs each encoder once per clip; all tasks that share an encoder use its tokens. A wrapper serves clips
whose view is already given by a person or a data set.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from echoapex.domain import Segmentation, ViewPrediction
from echoapex.models.encoder import EncodedClip, encode_clip
from echoapex.models.precision import Precision, choose_device, choose_precision
from echoapex.tasks.ejection_fraction import EfPrediction
from echoapex.tasks.trained_set import TrainedSet, load_models
from echoapex.vocabulary import Application, Structure, View

if TYPE_CHECKING:
    from echoapex.infer.clip.cycle import LvCycle

FrameMasks = tuple[int, Float[np.ndarray, "structures size size"], Float[np.ndarray, "structures"]]
"""Row of the clip, probabilities in model pixels, predicted overlap (IoU) with the truth."""
FrameWallPoints = tuple[int, Float[np.ndarray, "4 2"], Float[np.ndarray, "4"]]
"""Row of the clip, wall points in model pixels in ``WallPoint`` order, confidence."""
Pixels = UInt8[np.ndarray, "frames size size"]
ALONE_S = 0.09
"""A frame is alone if no other outlined frame is nearer than this in time; then none steadies it."""
MOST_STILLS = 4
"""A clip of at most so many frames, each alone, is taken for stills; more frames answer for each other."""
_VIEW_SCALES = (0.92, 1.08)
"""Sizes, relative to the frame as it is, at which the view of stills is asked again."""
_OUTLINE_SCALES = (0.83, 0.92, 1.08, 1.16)
"""The same for the outlines of a frame that is alone."""


class EjectionEstimate(Protocol):
    """Ejection fraction of a clip in percent with a 95 % interval, and each frame's LV volume over the largest."""

    @property
    def ef_percent(self) -> float:
        """Ejection fraction."""
        ...

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the 95 % interval, in percent."""
        ...

    @property
    def relative_volume(self) -> Float[np.ndarray, "frames"]:
        """Volume of every frame over the largest."""
        ...


class Interpreter(Protocol):
    """Models that read prepared clips; rows are the frames of the prepared clip."""

    @property
    def input_size(self) -> int:
        """Side of the square frames that the models want, in pixels."""
        ...

    @property
    def digests(self) -> Mapping[str, str]:
        """sha256 of the weights, by bundle."""
        ...

    def encode(self, pixels: UInt8[np.ndarray, "frames size size"], times_s: Sequence[float]) -> Any:
        """Encode a clip once; the result is opaque and only for the other methods."""
        ...

    def classify_view(self, encoded: Any) -> ViewPrediction:
        """The view of the whole clip."""
        ...

    def segment(self, encoded: Any, rows: Sequence[int], structures: Sequence[Structure]) -> Iterator[FrameMasks]:
        """Masks of the named structures on some frames, in order."""
        ...

    def find_wall_points(self, encoded: Any, rows: Sequence[int]) -> Sequence[FrameWallPoints]:
        """The four LV wall end points on some PLAX frames."""
        ...

    def estimate_ejection_fraction(self, encoded: Any) -> EjectionEstimate:
        """The ejection fraction of the whole clip."""
        ...


@runtime_checkable
class EchoDoubter(Protocol):
    """Models that may recognise pictures that are no echocardiogram; optional for an interpreter."""

    def doubts_echo(self, encoded: Any) -> bool:
        """Whether an encoded clip is no echocardiogram; False if the models cannot tell."""
        ...


@runtime_checkable
class Corrector(Protocol):
    """Models whose answers a person has corrected; optional for an interpreter."""

    @property
    def marked_frames(self) -> Sequence[int]:
        """Native frames that a person marked as end-diastole or end-systole; they are outlined too."""
        ...

    def correct_outlines(
        self, rows: Sequence[int], structures: Sequence[Structure], outline: Callable[[], Sequence[Segmentation]]
    ) -> Sequence[Segmentation]:
        """The outlines of some rows, with a person's in the place of those that ``outline`` finds."""
        ...

    def correct_cycle(self, cycle: LvCycle) -> LvCycle:
        """The cycle with the beats that a person marked."""
        ...

    def recall(self, key: object, compute: Callable[[], Any]) -> Any:
        """What was computed for a key before, or now; an error is recalled too."""
        ...


@dataclass(eq=False)
class ClipTokens:
    """A clip at the size of the analysis, and the tokens of each encoder pass, computed on first use."""

    pixels: Pixels
    times_s: tuple[float, ...]
    by_pass: dict[tuple[int, int, int], EncodedClip] = field(default_factory=dict)
    at_scales: dict[tuple[float, tuple[int, ...]], ClipTokens] = field(default_factory=dict)
    """Some rows of it, smaller or larger."""

    def at_scale(self, scale: float, rows: Sequence[int]) -> ClipTokens:
        """Some rows, each enlarged about its centre."""
        key = (scale, tuple(rows))
        if key not in self.at_scales:
            pixels = np.stack([_scaled(self.pixels[row], scale) for row in rows])
            self.at_scales[key] = ClipTokens(pixels, tuple(self.times_s[row] for row in rows))
        return self.at_scales[key]


class TaskInterpreter:
    """The four tasks of a set behind the interpreter protocol.

    Tasks whose encoders want another input size get the same frames resized; their answers are scaled back.
    """

    def __init__(self, models: TrainedSet, precision: Literal["bf16", "fp32"] = "fp32") -> None:
        self._models = models
        self.precision = precision
        device = next(models.encoders[Application.VIEW_CLASSIFICATION].encoder.parameters()).device
        self._autocast = choose_precision(precision, device).autocast(device)
        self._shared_blocks = {application: models.shared_blocks(application) for application in models.encoders}
        self._encoding = threading.Lock()

    @classmethod
    def load(cls, name_or_path: str | Path, device: str = "auto", precision: Precision = "auto") -> TaskInterpreter:
        """Load a set of bundles onto a device.

        Raises:
            BundleError: the set is missing or damaged.
            DeviceError: there is no such device here.
        """
        place = choose_device(device)
        return cls(load_models(name_or_path, place), choose_precision(precision, place).name)

    @property
    def input_size(self) -> int:
        """The largest input side in pixels of the tasks of the set."""
        return max(model.input_size for model in self._models.encoders.values())

    @property
    def models(self) -> TrainedSet:
        """The tasks behind the interpreter."""
        return self._models

    @property
    def digests(self) -> dict[str, str]:
        """sha256 of the weights, by bundle."""
        return dict(self._models.digests)

    def encode(self, pixels: Pixels, times_s: Sequence[float]) -> ClipTokens:
        """Keep the clip; each encoder runs when a task first needs it."""
        return ClipTokens(pixels, tuple(times_s))

    def classify_view(self, encoded: ClipTokens) -> ViewPrediction:
        """The view of the whole clip; of stills the mean over three scales."""
        rows = range(len(encoded.pixels))
        looks = [encoded]
        if len(rows) <= MOST_STILLS and len(_alone(rows, encoded.times_s)) == len(rows):
            looks += [encoded.at_scale(scale, rows) for scale in _VIEW_SCALES]
        answers = [
            self._models.view_classification.predict(self.tokens(look, Application.VIEW_CLASSIFICATION))
            for look in looks
        ]
        return ViewPrediction(
            {view: float(np.mean([answer.probabilities[view] for answer in answers])) for view in View}
        )

    def doubts_echo(self, encoded: ClipTokens) -> bool:
        """Whether the clip is no echocardiogram; the encoder runs only if the set has a head for this."""
        if self._models.view_classification.not_echo is None:
            return False
        return self._models.view_classification.doubts_echo(self.tokens(encoded, Application.VIEW_CLASSIFICATION))

    def segment(
        self, encoded: ClipTokens, rows: Sequence[int], structures: Sequence[Structure]
    ) -> Iterator[FrameMasks]:
        """Masks of the named structures on some frames, at the size of the analysis.

        Frames that are alone, as stills are, have no neighbours that steady them. Their answer is the mean of five: of
        the frame as it is, and of it smaller and larger.
        """
        if not rows:
            return
        alone = _alone(rows, encoded.times_s)
        at_scales = [self._segment_scaled(encoded, alone, structures, scale) for scale in _OUTLINE_SCALES if alone]
        for row, probabilities, overlap in self._segment(encoded, rows, structures):
            whole = np.ones(probabilities.shape[-2:], np.float32)
            answers = [(probabilities, whole, overlap), *(answer[row] for answer in at_scales if row in answer)]
            found, seen, overlaps = (np.stack(each) for each in zip(*answers, strict=True))
            yield row, (found * seen[:, None]).sum(axis=0) / seen.sum(axis=0), overlaps.mean(axis=0)

    def _segment(
        self, encoded: ClipTokens, rows: Sequence[int], structures: Sequence[Structure]
    ) -> Iterator[FrameMasks]:
        tokens = self.tokens(encoded, Application.SEGMENTATION)
        for row, probabilities, overlap in self._models.segmentation.predict(tokens, rows, structures):
            yield row, self._enlarged(probabilities), overlap

    def _segment_scaled(
        self, encoded: ClipTokens, rows: Sequence[int], structures: Sequence[Structure], scale: float
    ) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Of each row: probabilities, where the scaled frame saw the image (1, else 0), and the predicted overlaps."""
        clip = encoded.at_scale(scale, rows)
        seen = (_scaled(np.ones((self.input_size, self.input_size), np.float32), 1 / scale) > 0.99).astype(np.float32)
        answers = {}
        for index, probabilities, overlap in self._segment(clip, range(len(rows)), structures):
            back = np.stack([_scaled(found, 1 / scale) for found in probabilities])
            answers[rows[index]] = (back, seen, overlap)
        return answers

    def find_wall_points(self, encoded: ClipTokens, rows: Sequence[int]) -> list[FrameWallPoints]:
        """The four LV wall end points on some frames, in pixels at the size of the analysis."""
        if not rows:
            return []
        tokens = self.tokens(encoded, Application.LV_WALL)
        scale = self.input_size / self._models.encoders[Application.LV_WALL].input_size
        found = self._models.lv_wall.predict(tokens, rows)
        # pixel centres: the first pixel's edge stays at -0.5
        return [(row, (points + 0.5) * scale - 0.5, confidence) for row, points, confidence in found]

    def estimate_ejection_fraction(self, encoded: ClipTokens) -> EfPrediction:
        """The ejection fraction of the whole clip."""
        return self._models.ejection_fraction.predict(self.tokens(encoded, Application.EJECTION_FRACTION))

    def tokens(self, clip: ClipTokens, application: Application) -> EncodedClip:
        """The tokens that one task reads; the encoder runs if they are not computed yet."""
        model = self._models.encoders[application]
        shared = self._shared_blocks[application]
        with self._encoding:  # an adapter changes the encoder that all threads share while it is attached
            if model.pass_key not in clip.by_pass:
                pixels = _resized(clip.pixels, model.input_size)
                with model.adapted() as encoder:
                    clip.by_pass[model.pass_key] = encode_clip(
                        encoder, shared, pixels, clip.times_s, autocast=self._autocast
                    )
        encoded = clip.by_pass[model.pass_key]
        wanted = tuple(encoded.tokens[shared.index(block)] for block in model.blocks)
        return EncodedClip(encoded.pixels, wanted, encoded.times_s)

    def _enlarged(self, probabilities: np.ndarray) -> np.ndarray:
        size = self.input_size
        if probabilities.shape[-1] == size:
            return probabilities
        return np.stack([cv2.resize(each, (size, size), interpolation=cv2.INTER_LINEAR) for each in probabilities])


def _resized(pixels: Pixels, size: int) -> Pixels:
    if pixels.shape[-1] == size:
        return pixels
    return np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in pixels])


def _alone(rows: Sequence[int], times_s: Sequence[float]) -> list[int]:
    """The rows that have no other row near in time."""
    ordered = sorted(rows, key=lambda row: times_s[row])
    times = np.array([times_s[row] for row in ordered], float)
    gaps = np.concatenate([[np.inf], np.diff(times), [np.inf]])
    return [row for row, before, after in zip(ordered, gaps, gaps[1:], strict=False) if min(before, after) >= ALONE_S]


def _scaled(image: np.ndarray, scale: float) -> np.ndarray:
    """An image enlarged about its centre, of the same size; black where nothing was seen."""
    middle = (image.shape[0] - 1) / 2
    shift = middle * (1 - scale)
    turned = np.array([[scale, 0.0, shift], [0.0, scale, shift]])
    return cv2.warpAffine(np.ascontiguousarray(image), turned, image.shape[::-1], flags=cv2.INTER_LINEAR)


class ViewOverride:
    """An interpreter that uses the wrapped models, except for the view, which is given."""

    def __init__(self, models: Interpreter, view: View) -> None:
        self._models, self._view = models, view

    @property
    def input_size(self) -> int:
        """Side of the square frames that the models want, in pixels."""
        return self._models.input_size

    @property
    def digests(self) -> Mapping[str, str]:
        """sha256 of the weights, by bundle."""
        return self._models.digests

    def encode(self, pixels: UInt8[np.ndarray, "frames size size"], times_s: Sequence[float]) -> Any:
        """A clip encoded once."""
        return self._models.encode(pixels, times_s)

    def classify_view(self, _encoded: Any) -> ViewPrediction:
        """The given view, with probability 1."""
        return ViewPrediction({view: float(view is self._view) for view in View})

    def segment(self, encoded: Any, rows: Sequence[int], structures: Sequence[Structure]) -> Iterator[FrameMasks]:
        """Masks of the named structures on some frames, in order."""
        return self._models.segment(encoded, rows, structures)

    def find_wall_points(self, encoded: Any, rows: Sequence[int]) -> Sequence[FrameWallPoints]:
        """The four LV wall end points on some PLAX frames."""
        return self._models.find_wall_points(encoded, rows)

    def estimate_ejection_fraction(self, encoded: Any) -> EjectionEstimate:
        """The ejection fraction of the whole clip."""
        return self._models.estimate_ejection_fraction(encoded)
