"""Artefacts and overlays of a whole clip.

Artefacts: gain pattern, dropout, shadows, near-field clutter, haze and noise. Overlays: depth ticks, probe text and the
ECG, which a machine draws over the image and a reader must mask out.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from echoapex.phantom.anatomy.geometry import Field
from echoapex.phantom.imaging import VENDOR_LOOKS, Imaging
from echoapex.phantom.scan import PolarGrid, ScanConverter
from echoapex.phantom.speckle import smooth_field
from echoapex.vocabulary import Probe, View

_TICK_EVERY_MM, _LONG_TICK_EVERY_MM = 10, 50
_TICK_GREY, _TEXT_GREYS = 178, (150, 120, 120)
_TRACE_GREY, _TRACE_EDGE_GREY = 0.75, 0.4
_ECG_BASELINE, _ECG_HEIGHT = 0.955, 0.045
"""As fractions of the image height."""
_ECG_WAVES = ((0.86, 0.030, 0.13), (0.0, 0.012, 1.0), (0.03, 0.010, -0.25), (0.30, 0.050, 0.22))
"""P, R, S and T wave: phase, width and height."""


@dataclass(frozen=True, eq=False)
class ClipPattern:
    """Static fields of a clip on the polar grid; all are factors of the echo amplitude."""

    gain: Field
    near_clutter: Field
    background: Field
    """Brightness of the tissue around the heart."""
    reflection: Field
    """Strength of specular echoes."""
    haze: Field
    noise: Field


def build_pattern(view: View, imaging: Imaging, grid: PolarGrid, rng: np.random.Generator) -> ClipPattern:
    """Draw the static artefacts of one clip."""
    ranges = grid.ranges_mm[:, None].astype(float)
    gain_db = _attenuation(imaging, grid, ranges, rng) + _shadows(view, imaging, grid, ranges, rng)
    noise = 10 ** (imaging.noise_db / 20) * (0.6 + 0.9 * (ranges / 120) ** 2)
    return ClipPattern(
        gain=(10 ** (gain_db / 20)).astype(np.float32),
        near_clutter=_near_clutter(imaging, grid, ranges, rng),
        background=_factor(imaging.surroundings_db)
        * float(rng.uniform(0.4, 1.3))
        * np.exp(smooth_field("medium", grid.shape, rng) - 0.2),
        reflection=_factor(imaging.reflection_db) * np.exp(0.55 * smooth_field("fine", grid.shape, rng) - 0.1),
        haze=10 ** (imaging.haze_db / 20) * np.exp(0.5 * smooth_field("coarse", grid.shape, rng)),
        noise=np.broadcast_to(noise, grid.shape).astype(np.float32),
    )


def draw_annotations(converter: ScanConverter, imaging: Imaging, depth_mm: float) -> np.ndarray:
    """Depth ticks every centimetre at the right edge, text at the upper left: (size, size) float32, 0 to 1."""
    size = converter.size
    image = np.zeros((size, size), np.uint8)
    for depth in range(_TICK_EVERY_MM, int(depth_mm), _TICK_EVERY_MM):
        row = int((depth - converter.top_mm) / converter.mm_per_px)
        if row < size:
            length = 6 if depth % _LONG_TICK_EVERY_MM == 0 else 3
            image[row, -length:] = _TICK_GREY
    lines = (VENDOR_LOOKS[imaging.vendor].probe_label, f"{imaging.frame_rate_hz:.0f}Hz", f"{depth_mm / 10:.0f}cm")
    for number, (text, grey) in enumerate(zip(lines, _TEXT_GREYS, strict=True)):
        cv2.putText(image, text, (3, 11 + 12 * number), cv2.FONT_HERSHEY_SIMPLEX, 0.3, grey, 1, cv2.LINE_8)
    return image.astype(np.float32) / 255


class EcgTrace:
    """An ECG trace along the lower edge that grows with the clip; its R waves match the heart."""

    def __init__(self, size: int, duration_s: float, beat_s: float, start_phase: float) -> None:
        self._columns = np.arange(int(size * 0.04), int(size * 0.96))
        progress = (self._columns - self._columns[0]) / (self._columns[-1] - self._columns[0])
        self._times_s = progress * duration_s
        volts = ecg_volts(start_phase + self._times_s / beat_s)
        rows = int(size * _ECG_BASELINE) - volts * size * _ECG_HEIGHT
        self._rows = np.clip(rows, 0, size - 1).astype(int)

    def draw(self, image: np.ndarray, time_s: float) -> None:
        """Draw the trace up to ``time_s`` onto the image (size, size), in place."""
        drawn = self._times_s <= time_s + 1e-6
        columns, rows = self._columns[drawn], self._rows[drawn]
        image[rows, columns] = np.maximum(image[rows, columns], _TRACE_GREY)
        below = np.minimum(rows + 1, image.shape[0] - 1)
        image[below, columns] = np.maximum(image[below, columns], _TRACE_EDGE_GREY)


def ecg_volts(phase: np.ndarray) -> np.ndarray:
    """A schematic ECG at phases of the cycle; the R wave has height 1."""
    volts = np.zeros_like(phase, dtype=float)
    for centre, width, height in _ECG_WAVES:
        from_centre = (phase - centre + 0.5) % 1.0 - 0.5
        volts += height * np.exp(-((from_centre / width) ** 2))
    return volts


def _attenuation(imaging: Imaging, grid: PolarGrid, ranges: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gain in dB: dropout along beams, dark edges, imperfect time gain compensation, weak far field."""
    beams = (np.arange(grid.shape[1]) * 144 / grid.shape[1]).astype(int)
    contact = gaussian_filter1d(rng.standard_normal(144), 9)[beams] * 3.2
    dropout = -imaging.dropout * 8 * np.clip(contact, 0, 2.5)
    edges = -7 * np.clip(np.abs(grid.relative_angles) - 0.72, 0, 0.4) / 0.28 * rng.uniform(0.3, 1.1)
    side = -abs(imaging.side_loss_db) * np.clip(np.sign(imaging.side_loss_db) * grid.relative_angles, 0, 1)
    gain = (dropout + edges + side)[None] * np.clip(ranges / 40, 0.3, 1)
    gain = gain + imaging.depth_gain_db * (ranges - 80) / 100
    depth = grid.pose.depth_mm
    result: np.ndarray = gain - imaging.dropout * 6 * np.clip((ranges - 0.75 * depth) / (0.25 * depth), 0, 1)
    return result


def _shadows(view: View, imaging: Imaging, grid: PolarGrid, ranges: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Loss in dB behind ribs, and behind lung at the edges of the sector."""
    across = grid.relative_angles[None]
    loss = np.zeros(grid.shape)
    for _ in range(imaging.shadows):
        centre, width = rng.uniform(-0.9, 0.9), rng.uniform(0.06, 0.16)
        loss -= 16 * np.exp(-(((across - centre) / width) ** 2)) * np.clip((ranges - 25) / 10, 0, 1)
    for side in (-1, 1):
        present = rng.random() < 0.35 + 0.3 * imaging.dropout
        start, depth = rng.uniform(0.5, 0.95), rng.uniform(6, 22)
        if present and view.probe is Probe.TTE:
            loss -= depth * np.clip((side * across - start) / 0.16, 0, 1) * np.clip((ranges - 12) / 25, 0, 1)
    return loss


def _near_clutter(imaging: Imaging, grid: PolarGrid, ranges: np.ndarray, rng: np.random.Generator) -> Field:
    """Reverberation between transducer and chest wall: static bands that weaken with depth."""
    band = 1.3 * np.exp(-ranges / 11)
    for depth, width, strength in ((8, 3, 0.7), (17, 2.5, 0.35), (27, 3, 0.12)):
        band = band + strength * np.exp(-(((ranges - depth) / width) ** 2))
    uneven = np.clip(1 + 0.5 * smooth_field("banded", grid.shape, rng), 0.1, 3)
    return (10 ** (imaging.clutter_db / 20) * 3.2 * band * uneven).astype(np.float32)


def _factor(decibels: float) -> float:
    """Convert decibels to a factor of the echo amplitude."""
    return float(10 ** (decibels / 20))
