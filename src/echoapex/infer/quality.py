"""The gate: whether a clip is an echocardiogram that can be read at all, and how far to trust what is read.

A clip is set aside when it is no tissue image (by its header or by its pixels, see ``io.pixel_content``), when it is
nearly blank, when no ultrasound sector or no view can be recognised in it, or when a set that has learned it says so.
Everything else is analysed, and doubts become flags.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from echoapex.data.preprocess import SECTOR_NOT_FOUND, PreparedClip
from echoapex.domain import ClipHeader, ContentKind, Flag, ViewPrediction
from echoapex.io.clip_source import ReadFlag
from echoapex.vocabulary import Probe

BLANK_CONTRAST = 4.0
"""Standard deviation of grey levels (0 to 255) below which an image shows nothing."""
FULL_CONTRAST = 30.0
"""Contrast from which the image counts as fully legible."""
CERTAIN_VIEW = 0.6
"""Probability of the view from which it counts as certain; below, every value is flagged."""
LEAST_VIEW = 0.2
"""Probability below which no view is named and nothing is measured."""
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


@dataclass(frozen=True)
class ImageQuality:
    """How legible a clip is.

    Attributes:
        contrast: standard deviation of the grey levels of a typical frame.
        score: from 0 (blank) to 1 (full contrast).
    """

    contrast: float
    score: float


def reason_to_set_aside(header: ClipHeader) -> str:
    """Why the content of a clip is not measured as a tissue image; empty when it is."""
    if header.content in _ANALYSED:
        return ""
    title = _KIND_TITLES.get(header.content, str(header.content))
    return f"{title}: {header.content_reason}" if header.content_reason else title


def assess_image(pixels: UInt8[np.ndarray, "frames size size"]) -> ImageQuality:
    """Legibility of prepared frames: the median over frames of their contrast.

    At most 32 frames, evenly spread, are looked at.
    """
    sample = pixels[:: max(1, len(pixels) // 32)]
    contrast = float(np.median(sample.reshape(len(sample), -1).std(axis=1)))
    score = (contrast - BLANK_CONTRAST) / (FULL_CONTRAST - BLANK_CONTRAST)
    return ImageQuality(contrast, float(np.clip(score, 0.0, 1.0)))


def reason_to_abstain(clip: PreparedClip, image: ImageQuality, view: ViewPrediction) -> str:
    """Why nothing is measured in a clip that was looked at; empty when it can be measured."""
    if image.contrast < BLANK_CONTRAST:
        return "the image is nearly blank"
    if view.probability < LEAST_VIEW:
        return f"no view was recognised (the likeliest, {view.view}, has probability {view.probability:.2f})"
    if SECTOR_NOT_FOUND in clip.header.flags:
        return "no ultrasound sector was recognised"
    return ""


def restrict_view(view: ViewPrediction, probe: Probe | None) -> ViewPrediction:
    """The prediction given that the probe is known: only its views, their probabilities scaled to sum to one."""
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
