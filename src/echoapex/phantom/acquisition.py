"""From anatomy to grey levels: one plane of one patient, seen by one machine."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter1d

from echoapex.phantom.artefacts import build_pattern
from echoapex.phantom.echogenicity import HeartEcho, SceneEcho
from echoapex.phantom.imaging import Imaging
from echoapex.phantom.random_streams import Stream, random_stream
from echoapex.phantom.scan import PAD_BEAMS, PolarGrid
from echoapex.phantom.shapes import Field, Vector
from echoapex.phantom.speckle import PointSpread, TissueSpeckle, noise_field
from echoapex.vocabulary import View

_BRIGHTEST_DB = 12.0
"""Echo level, relative to myocardium, that is shown white."""
_DECIBELS_PER_NEPER_OF_POWER = 10 / math.log(10)
_SWAY_ENDS_AT_PHASE = 0.7


class BeamFormer:
    """Makes polar frames of a plane. A frame depends on the seed and the instant alone, not on its predecessors."""

    def __init__(self, view: View, seed: int, imaging: Imaging, grid: PolarGrid) -> None:
        self._seed, self._view_number = seed, list(View).index(view)
        self._imaging, self._grid = imaging, grid
        rng = random_stream(seed, Stream.CLIP, self._view_number)
        self._spread = PointSpread(imaging, grid)
        self._speckle = TissueSpeckle(grid, self._spread, rng)
        self.pattern = build_pattern(view, imaging, grid, rng)
        self._standing_noise = noise_field(grid.shape, rng)
        angle = rng.uniform(0, 2 * np.pi)
        self._sway_mm: Vector = np.array([math.cos(angle), math.sin(angle), 0.3]) * rng.uniform(0.5, 2.0)

    def sway_mm(self, phase: float) -> Vector:
        """How far the whole heart has moved in the chest at a phase."""
        return self._sway_mm * math.sin(math.pi * min(1.0, phase / _SWAY_ENDS_AT_PHASE))

    def compressed_frame(self, echo_source: HeartEcho | SceneEcho, phase: float, time_s: float) -> Field:
        """Log-compressed echo (samples, beams) without the padding, 0 to 1."""
        imaging, pattern, shape = self._imaging, self.pattern, self._grid.shape
        rng = random_stream(self._seed, Stream.FRAME, self._view_number, round(time_s * 1e6))
        sway = [float(component) for component in self.sway_mm(phase)]
        x, y, z = (p - s for p, s in zip(self._grid.points, sway, strict=True))
        echo = echo_source.at((x, y, z), phase, self._speckle)
        scatterers = self._speckle.scatterers(echo.tissue)
        np.copyto(scatterers, noise_field(shape, rng), where=echo.blood)  # blood has moved on by the next frame
        field = scatterers * (echo.diffuse + 0.25 * echo.specular)
        field += 0.9 * echo.specular
        field *= pattern.gain
        field += noise_field(shape, rng) * (self._haze(echo.diffuse + 1.5 * echo.specular) * pattern.haze)
        field += self._standing_noise * pattern.near_clutter
        received = self._spread.blur(field)
        received += noise_field(shape, rng) * pattern.noise
        received = received[:, PAD_BEAMS:-PAD_BEAMS]
        power = received.real**2 + received.imag**2
        decibels = _DECIBELS_PER_NEPER_OF_POWER * np.log(power + 1e-8)
        darkest = _BRIGHTEST_DB - imaging.dynamic_range_db
        level: Field = (decibels + (imaging.gain_db - darkest)) * (1 / imaging.dynamic_range_db)
        np.clip(level, 0, 1, out=level)
        if imaging.smoothing_px > 0:
            level = gaussian_filter(level, (imaging.smoothing_px * 0.9, imaging.smoothing_px), truncate=2.5)
        return level

    def _haze(self, amplitude: Field) -> Field:
        """Side lobes: the echo of a neighbourhood, smeared across the beams."""
        samples, beams = self._grid.size
        across = uniform_filter1d(amplitude, max(5, int(33 * beams / 128)) | 1, axis=1, mode="nearest")
        haze: Field = uniform_filter1d(across, max(3, int(9 * samples / 352)) | 1, axis=0, mode="nearest")
        return haze
