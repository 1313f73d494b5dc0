"""Small drawn studies as DICOM: a fan of speckle with a beating disc in it, written in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from echoapex.domain import Clip, ClipHeader, Sector
from echoapex.domain.geometry import Spacing
from echoapex.io.ultrasound_writer import FictitiousStudy, UltrasoundSyntax, write_ultrasound

FRAME_INTERVAL_S = 0.04
SPACING = Spacing(0.9, 0.9)


def fan_polygon(size: int) -> np.ndarray:
    """A fan with its apex at the top, in pixel centres."""
    apex, radius = np.array([size / 2, 0.06 * size]), 0.88 * size
    angles = np.linspace(-0.65, 0.65, 24)
    return np.vstack([apex, apex + radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)])


def draw_fan_clip(seed: int, frames: int = 6, size: int = 128) -> np.ndarray:
    """Grey frames ``(frames, size, size)`` that differ in speckle and in the radius of a disc."""
    rng = np.random.default_rng(seed)
    inside = np.zeros((size, size), np.uint8)
    cv2.fillPoly(inside, [fan_polygon(size).round().astype(np.int32)], 1)
    tissue = rng.uniform(60, 140)
    drawn = []
    for number in range(frames):
        grey = cv2.GaussianBlur(rng.uniform(0, 2 * tissue, (size, size)).astype(np.float32), (5, 5), 0)
        radius = size * (0.1 + 0.06 * np.sin(number * 1.1 + seed))
        cv2.circle(grey, (round(size * 0.5), round(size * 0.5)), round(radius), 12, cv2.FILLED)
        drawn.append(np.clip(grey, 1, 255).astype(np.uint8) * inside)
    return np.stack(drawn)


def write_fan_clip(path: Path, frames: np.ndarray, patient: int, instance: int = 1) -> Path:
    """A clip as JPEG baseline DICOM of a fictitious patient, calibrated, without its sector in the header."""
    size = (frames.shape[1], frames.shape[2])
    header = ClipHeader(
        clip_id="drawn",
        size=size,
        frame_times_s=tuple(np.arange(len(frames)) * FRAME_INTERVAL_S),
        spacing=SPACING,
        sector=Sector((0.0, 0.0, float(size[1]), float(size[0]))),
    )
    study = FictitiousStudy(patient)
    return write_ultrasound(path, Clip(header, frames), study, instance=instance, syntax=UltrasoundSyntax.JPEG_BASELINE)


def write_studies(folder: Path, patients: Sequence[int], clips: int = 2, frames: int = 6) -> Path:
    """One folder per patient with ``clips`` clips each."""
    for patient in patients:
        for clip in range(clips):
            drawn = draw_fan_clip(100 * patient + clip, frames)
            write_fan_clip(folder / f"s{patient}" / f"c{clip}.dcm", drawn, patient, clip + 1)
    return folder
