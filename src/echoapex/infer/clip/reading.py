"""The state of one clip during analysis: what was prepared, encoded and recognised, shared by all measurements.

The gate decides whether a clip is a readable echocardiogram, and which doubts to note. A clip is set aside when it is
no tissue image (by its header or by its pixels, see ``io.content``), when it is nearly blank, when no ultrasound
sector or no view can be recognised, or when the set's own "no echocardiogram" head says so. Everything else is
analysed, and doubts become flags.

The options of an analysis are defined here too, and the perceptual hash by which copies of a loop are found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from pydantic import Field

from echoapex.config import Config
from echoapex.data.preprocess import BLANK_CONTRAST, SECTOR_NOT_FOUND, ImageQuality, PreparedClip
from echoapex.domain import ClipHeader, ContentKind, Evidence, Flag, RWaveSource, ViewPrediction
from echoapex.domain.results import LEAST_VIEW
from echoapex.infer.clip.models import Interpreter
from echoapex.io.clip_source import ReadFlag
from echoapex.measure.outline import MeasureError
from echoapex.measure.r_waves import find_r_waves
from echoapex.models.precision import Precision
from echoapex.vocabulary import Probe, View

CERTAIN_VIEW = 0.6
"""Below this probability the view is uncertain, and every value is flagged."""
CERTAIN_STRUCTURE = 0.7
"""Predicted overlap (IoU) below which an outline is flagged."""

_ANALYSED = (ContentKind.B_MODE, ContentKind.COLOUR_DOPPLER)
_KIND_TITLES = {
    ContentKind.M_MODE: "an M-mode image",
    ContentKind.SPECTRAL_DOPPLER: "a spectral Doppler image",
    ContentKind.SPLIT_SCREEN: "a split screen",
    ContentKind.TEXT_SCREEN: "a screen of text",
    ContentKind.NOT_ECHO: "no echocardiogram",
}
COPY_DISTANCE = 0.024
"""Largest share of differing bits between copies.

In a test with 121 real loops, 484 copies (0.5, 0.75, 1 and 1.3 times the size, JPEG of quality 30 to 85) differed in
up to 0.020; of 4,824 pairs of different loops, many of them of one patient and view, the nearest in 0.031.
"""
_HASH_SIDE = 24
_LEAST_STEP = 3.0  # grey levels: a smaller step is noise or darkness
_MOST_FRAMES_HASHED = 64
_FRAMES_COMPARED = 8
_LEAST_BITS_SET = 0.02  # share of bits that are set: a picture with fewer shows nothing to know it by


def reason_to_set_aside(header: ClipHeader) -> str:
    """Why a clip is no tissue image that can be measured; empty if it is one."""
    if header.content in _ANALYSED:
        return ""
    title = _KIND_TITLES.get(header.content, str(header.content))
    return f"{title}: {header.content_reason}" if header.content_reason else title


def reason_to_abstain(clip: PreparedClip, image: ImageQuality, view: ViewPrediction) -> str:
    """Why nothing is measured in a readable clip; empty if it can be measured."""
    if image.contrast < BLANK_CONTRAST:
        return "the image is nearly blank"
    if view.probability < LEAST_VIEW:
        return f"no view was recognised (the likeliest, {view.view}, has probability {view.probability:.2f})"
    if SECTOR_NOT_FOUND in clip.header.flags:
        return "no ultrasound sector was recognised"
    return ""


def restrict_view(view: ViewPrediction, probe: Probe | None) -> ViewPrediction:
    """The prediction restricted to the views of the known probe; probabilities are rescaled to sum to one."""
    if probe is None:
        return view
    kept = {name: value if name.probe is probe else 0.0 for name, value in view.probabilities.items()}
    total = sum(kept.values())
    if total <= 0:
        return view
    return ViewPrediction({name: value / total for name, value in kept.items()})


def overall_quality(image: ImageQuality, view: ViewPrediction, overlaps: Iterable[float]) -> float:
    """The weakest of legibility, certainty of the view and mean predicted overlap of the outlines; 0 to 1."""
    known = list(overlaps)
    parts = [image.score, view.probability, *([float(np.mean(known))] if known else [])]
    return float(np.clip(min(parts), 0.0, 1.0))


def clip_flags(header: ClipHeader, view: ViewPrediction) -> tuple[Flag, ...]:
    """Flags that every value of a clip carries: uncertain view, assumed frame rate, corrected spacing."""
    flags = {
        Flag.VIEW_UNCERTAIN: view.probability < CERTAIN_VIEW,
        Flag.ASSUMED_FRAME_RATE: not header.frame_times_known,
        Flag.CORRECTED_SPACING: ReadFlag.CORRECTED_SPACING in header.flags,
    }
    return tuple(flag for flag, applies in flags.items() if applies)


def r_waves_of(header: ClipHeader) -> tuple[tuple[float, ...], RWaveSource | None]:
    """R waves of a clip and where they come from: those that the file names, else those found in its ECG."""
    if header.r_wave_times_s:
        return header.r_wave_times_s, RWaveSource.FILE
    if header.ecg is None:
        return (), None
    try:
        found = find_r_waves(header.ecg.samples, header.ecg.rate_hz)
    except MeasureError:  # a still has an ECG too short for that
        return (), None
    times = tuple(round(header.ecg.start_s + time, 4) for time in found)
    return times, RWaveSource.ECG_TRACE if times else None


@dataclass(frozen=True, eq=False)
class ClipReading:
    """A prepared and encoded clip with its view; ``encoded`` is opaque to all but the interpreter."""

    clip: PreparedClip
    encoded: Any
    view_prediction: ViewPrediction
    interpreter: Interpreter

    @property
    def header(self) -> ClipHeader:
        """Header of the source clip."""
        return self.clip.header

    @property
    def view(self) -> View:
        """The view."""
        return self.view_prediction.view

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Flags that every value of this clip carries."""
        return clip_flags(self.header, self.view_prediction)

    def row_of(self, frame: int) -> int:
        """Prepared row nearest to a native frame."""
        indices = self.clip.frame_indices
        return min(range(len(indices)), key=lambda row: abs(indices[row] - frame))

    def in_colour(self, points_xy: Sequence[tuple[float, float]]) -> bool:
        """Whether a point lies in the colour Doppler box (native pixels)."""
        if self.clip.colour is None:
            return False
        x0, y0, x1, y1 = self.clip.colour
        return any(x0 - 0.5 <= x <= x1 - 0.5 and y0 - 0.5 <= y <= y1 - 0.5 for x, y in points_xy)

    def evidence(
        self,
        frames: Sequence[int],
        contours_xy: dict[str, tuple[tuple[float, float], ...]] | None = None,
        points_xy: dict[str, tuple[float, float]] | None = None,
    ) -> Evidence:
        """Evidence from this clip: frames, contours and points in native pixels, and the calibration used."""
        spacing = self.header.spacing
        return Evidence(
            clip_id=self.header.clip_id,
            frames=tuple(frames),
            contours_xy=contours_xy or {},
            points_xy=points_xy or {},
            row_mm=spacing.row_mm if spacing else None,
            column_mm=spacing.column_mm if spacing else None,
            calibration_source=self.header.source.get("calibration", "") if spacing else "",
            input_sha256=self.header.source.get("sha256", ""),
        )


class AnalysisOptions(Config):
    """Choices of an analysis; those that change results are part of what makes a finished clip reusable."""

    contours: Literal["cycle", "ed_es"] = Field(
        default="cycle",
        description="outline structures over the cardiac cycle, or only at end-diastole and end-systole (faster)",
    )
    probe: Probe | None = Field(default=None, description="where the transducer was, when that is known: TTE, TEE, ICE")
    max_encoded_frames: int = Field(default=1024, ge=2, description="longer clips are taken with a stride")
    max_segmented_frames: int = Field(default=96, ge=2, description="frames outlined per clip")
    keep_identifiers: bool = Field(default=False, description="let file names and patient data into the outputs")
    precision: Precision = Field(
        default="auto", description="of the encoder: what the machine is fast at (auto), bf16 or fp32"
    )
    overlays: bool = Field(default=True, description="write one overlay video per clip")
    masks: bool = Field(default=True, description="write label maps")


def sign_loop(pixels: UInt8[np.ndarray, "frames size size"]) -> tuple[str, ...]:
    """The difference hash of each of the first 64 frames, in hexadecimal; empty where frames show nothing.

    A bit is set if a cell of a 24 x 24 grid is brighter than the cell to its left.
    """
    bits = np.stack([_steps(frame) for frame in pixels[:_MOST_FRAMES_HASHED]])
    if bits.mean() < _LEAST_BITS_SET:
        return ()
    return tuple(np.packbits(frame).tobytes().hex() for frame in bits)


def are_copies(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether the shorter of two loops equals, frame by frame, a part of the longer; a still is no copy of a loop."""
    short, long = sorted((first, second), key=len)
    if not short or (len(short) == 1) != (len(long) == 1):
        return False
    chosen = np.unique(np.linspace(0, len(short) - 1, _FRAMES_COMPARED).round().astype(int))
    wanted, known = _bits([short[index] for index in chosen]), _bits(long)
    starts = range(len(long) - len(short) + 1)
    return any(float((wanted != known[chosen + start]).mean()) <= COPY_DISTANCE for start in starts)


def _steps(frame: UInt8[np.ndarray, "size size"]) -> Bool[np.ndarray, "bits"]:
    small = cv2.resize(frame.astype(np.float32), (_HASH_SIDE + 1, _HASH_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small[:, 1:] > small[:, :-1] + _LEAST_STEP).ravel()


def _bits(hashes: Sequence[str]) -> Bool[np.ndarray, "frames bits"]:
    return np.stack([np.unpackbits(np.frombuffer(bytes.fromhex(each), np.uint8)) for each in hashes]).astype(bool)
