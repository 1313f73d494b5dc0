"""Small drawn studies as DICOM: a fan of speckle with a beating disc in it, written in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from echoapex.domain import Clip, ClipHeader, Sector
from echoapex.domain.clip import Spacing
from echoapex.io.dicom.writer import FictitiousStudy, UltrasoundSyntax, write_ultrasound

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
        grey = _speckle(rng, (size, size), (size / 2, 0.06 * size), 0.88 * size) * tissue
        radius = size * (0.1 + 0.06 * np.sin(number * 1.1 + seed))
        cv2.circle(grey, (round(size * 0.5), round(size * 0.5)), round(radius), 12, cv2.FILLED)
        drawn.append(np.clip(grey, 1, 255).astype(np.uint8) * inside)
    return np.stack(drawn)


def draw_sector(size: tuple[int, int], frames: int = 3, seed: int = 0) -> np.ndarray:
    """Grey frames ``(frames, *size)`` of a fan full of speckle, black around."""
    rng = np.random.default_rng(seed)
    height, width = size
    apex, radius = (width / 2, 0.04 * height), 0.92 * height
    angles = np.linspace(-0.66, 0.66, 48)
    outline = np.vstack([apex, np.array(apex) + radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)])
    inside = np.zeros(size, np.uint8)
    cv2.fillPoly(inside, [outline.round().astype(np.int32)], 1)
    drawn = [np.clip(_speckle(rng, size, apex, radius) * 90, 12, 255).astype(np.uint8) * inside for _ in range(frames)]
    return np.stack(drawn)


def _speckle(rng: np.random.Generator, size: tuple[int, int], apex: tuple[float, float], radius: float) -> np.ndarray:
    """Speckle of mean 1 as ultrasound has it: sharp along the beams from the apex, broad across them."""
    rows, columns = np.indices(size)
    x, y = columns - apex[0], rows - apex[1]
    beams, depths = (np.arctan2(x, y) / 0.7 + 1) * 47.5, np.hypot(x, y) / radius * 399
    polar = cv2.GaussianBlur(rng.rayleigh(0.8, (420, 96)).astype(np.float32), (0, 0), 1.2)
    return cv2.remap(polar, beams.astype(np.float32), depths.astype(np.float32), cv2.INTER_LINEAR, borderValue=1.0)


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
