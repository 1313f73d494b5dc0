"""What a clip suffers as a whole: gain pattern, dropout, shadows, near-field clutter, haze and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from echoapex.phantom.imaging import Imaging
from echoapex.phantom.scan import PolarGrid
from echoapex.phantom.shapes import Field
from echoapex.phantom.speckle import smooth_field
from echoapex.vocabulary import Probe, View


@dataclass(frozen=True, eq=False)
class ClipPattern:
    """Static fields of a clip on the polar grid, all factors of echo amplitude."""

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


def _factor(decibels: float) -> float:
    """Factor of the echo amplitude."""
    return float(10 ** (decibels / 20))


def _attenuation(imaging: Imaging, grid: PolarGrid, ranges: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gain in dB: dropout along beams, dark edges, residual of the time gain compensation, weak far field."""
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
    """Loss in dB behind ribs and, at the sector's edges, behind lung."""
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
    """Reverberation between transducer and chest wall: bands that weaken with depth and stand still."""
    band = 1.3 * np.exp(-ranges / 11)
    for depth, width, strength in ((8, 3, 0.7), (17, 2.5, 0.35), (27, 3, 0.12)):
        band = band + strength * np.exp(-(((ranges - depth) / width) ** 2))
    uneven = np.clip(1 + 0.5 * smooth_field("banded", grid.shape, rng), 0.1, 3)
    return (10 ** (imaging.clutter_db / 20) * 3.2 * band * uneven).astype(np.float32)
