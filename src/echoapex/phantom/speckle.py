"""Speckle: complex Gaussian scatterers that move with the tissue, blurred by the point spread function of the probe.

Fully developed speckle is the sum of many scatterers per resolution cell. Its envelope is Rayleigh distributed, with a
ratio of mean to standard deviation of 1.91 (Wagner et al., IEEE Trans Sonics Ultrason 1983;30:156).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from echoapex.phantom.anatomy.geometry import Field, Points
from echoapex.phantom.imaging import Imaging
from echoapex.phantom.scan import PolarGrid

_LATTICE_SEED = 20240611
_FWHM_PER_SIGMA = 2.355
_SCATTERER_FWHM_MM = 0.60
_CELL_MM, _CELL_OUT_OF_PLANE_MM = 0.35, 2.3
_TEXTURE_CELL_MM, _TEXTURE_CELL_OUT_OF_PLANE_MM = 1.3, 2.6
_NOISE_LENGTH = 1 << 19
_AXIAL_REACH = 4
"""Samples on each side that the axial point spread function covers."""


@dataclass(frozen=True, eq=False)
class Lattices:
    """Periodic random fields shared by all clips; each clip reads them at its own offset."""

    scatterers: np.ndarray
    """complex64, 128 x 128 x 16 cells, flattened; unit power."""
    texture: np.ndarray
    """float32, 64 x 64 x 32 cells of about 6 mm correlation, flattened; unit variance."""
    noise: np.ndarray
    """complex64 white noise of unit power."""
    mottle: dict[str, np.ndarray]
    """Smooth polar fields (1024, 512) of unit variance: fine, medium, coarse, and banded along the beam."""


@functools.cache
def shared_lattices() -> Lattices:
    """The lattices; made once per process (in a quarter of a second), always the same."""
    rng = np.random.default_rng(_LATTICE_SEED)
    sigma = _SCATTERER_FWHM_MM / _FWHM_PER_SIGMA / _CELL_MM
    cells = rng.standard_normal((2, 128, 128, 16), dtype=np.float32)
    cells = gaussian_filter(cells, (0, sigma, sigma, 0.35), mode="wrap")
    cells /= cells.std() * math.sqrt(2)
    noise = rng.standard_normal((2, _NOISE_LENGTH), dtype=np.float32) / np.float32(math.sqrt(2))
    texture = gaussian_filter(rng.standard_normal((64, 64, 32), dtype=np.float32), (2.6, 2.6, 1.3), mode="wrap")
    mottle = {}
    for name, sigmas in (("fine", (9, 6)), ("medium", (14, 9)), ("coarse", (26, 14)), ("banded", (5, 12))):
        field = gaussian_filter(rng.standard_normal((1024, 512), dtype=np.float32), sigmas, mode="wrap")
        mottle[name] = field / field.std()
    return Lattices(
        scatterers=(cells[0] + 1j * cells[1]).astype(np.complex64).ravel(),
        texture=(texture / texture.std()).ravel(),
        noise=(noise[0] + 1j * noise[1]).astype(np.complex64),
        mottle=mottle,
    )


class PointSpread:
    """Blur of the probe: a Gaussian pulse along the beam, and across it a Gaussian that is narrowest at the focus.

    Both preserve the power of white noise, so that speckle has the same brightness at every depth.
    """

    def __init__(self, imaging: Imaging, grid: PolarGrid) -> None:
        ranges = grid.ranges_mm[:, None].astype(float)
        near_field = 0.9 * np.exp(-ranges / (0.35 * imaging.focus_mm))
        away_from_focus = 0.22 * np.abs(ranges - imaging.focus_mm) / 100
        width_deg = imaging.lateral_fwhm_deg * (1 + near_field + away_from_focus)
        sigma_beams = width_deg / _FWHM_PER_SIGMA / math.degrees(grid.beam_angle)
        frequency = np.fft.fftfreq(grid.shape[1])[None, :]
        transfer = np.exp(-2 * (np.pi * frequency * sigma_beams) ** 2)
        transfer /= np.sqrt((transfer**2).mean(1, keepdims=True))
        self._lateral = transfer.astype(np.float32)
        # the scatterers already have a size; the pulse adds the rest
        pulse_mm = math.sqrt(max(imaging.axial_fwhm_mm**2 - _SCATTERER_FWHM_MM**2, 0.25**2))
        sigma_samples = pulse_mm / _FWHM_PER_SIGMA / grid.sample_mm
        pulse = np.exp(-0.5 * (np.arange(-_AXIAL_REACH, _AXIAL_REACH + 1) / sigma_samples) ** 2)
        self._axial = [float(weight) for weight in pulse / np.sqrt((pulse**2).sum())]

    def blur(self, field: np.ndarray) -> np.ndarray:
        """Blur the complex field (samples, beams)."""
        spectrum = fft.fft(field, axis=1)
        spectrum *= self._lateral
        field = fft.ifft(spectrum, axis=1, overwrite_x=True)
        result = field * self._axial[_AXIAL_REACH]
        for offset in range(1, _AXIAL_REACH + 1):
            weight = self._axial[_AXIAL_REACH + offset]
            if weight < 1e-3:
                break
            shifted = field * weight
            result[offset:] += shifted[:-offset]
            result[:-offset] += shifted[offset:]
        return result


class TissueSpeckle:
    """Scatterers of one clip, looked up at the end-diastolic position of the tissue."""

    def __init__(self, grid: PolarGrid, spread: PointSpread, rng: np.random.Generator) -> None:
        self._lattices = shared_lattices()
        self._offset = [float(value) + 4096.5 for value in rng.integers(0, 128, 3)]  # keeps coordinates positive
        self._calibration: Field = np.ones((grid.shape[0], 1), np.float32)
        still: Points = (grid.x_mm, grid.y_mm, np.zeros_like(grid.x_mm))
        reference = spread.blur(self.scatterers(still))
        power = gaussian_filter1d((reference.real**2 + reference.imag**2).mean(1), 0.06 * grid.shape[0], mode="nearest")
        self._calibration = (1 / np.sqrt(power))[:, None].astype(np.float32)

    def scatterers(self, tissue: Points) -> np.ndarray:
        """Complex scatterer amplitude, (samples, beams) complex64, from the two nearest cells, half a beam apart."""
        x = tissue[0] * (1 / _CELL_MM) + self._offset[1]
        y = tissue[1] * (1 / _CELL_MM) + self._offset[2]
        slices = (tissue[2] * (1 / _CELL_OUT_OF_PLANE_MM) + self._offset[0]).astype(np.int32) & 15
        lattice = self._lattices.scatterers
        result: np.ndarray = lattice[((x.astype(np.int32) & 127) << 11) | ((y.astype(np.int32) & 127) << 4) | slices]
        between_x = ((x[:, :-1] + x[:, 1:]) * 0.5).astype(np.int32) & 127
        between_y = ((y[:, :-1] + y[:, 1:]) * 0.5).astype(np.int32) & 127
        result[:, 1:] += lattice[(between_x << 11) | (between_y << 4) | slices[:, 1:]]
        result *= self._calibration
        return result

    def texture(self, tissue: Points) -> Field:
        """Slow variation of the tissue with unit variance, for brightness and ragged edges."""
        x = (tissue[0] * (1 / _TEXTURE_CELL_MM) + self._offset[0]).astype(np.int32) & 63
        y = (tissue[1] * (1 / _TEXTURE_CELL_MM) + self._offset[1]).astype(np.int32) & 63
        z = (tissue[2] * (1 / _TEXTURE_CELL_OUT_OF_PLANE_MM) + self._offset[2]).astype(np.int32) & 31
        result: Field = self._lattices.texture[(x << 11) | (y << 5) | z]
        return result


def noise_field(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """White complex noise of unit power: a random section of the shared buffer (a view; do not modify it)."""
    noise = shared_lattices().noise
    count = shape[0] * shape[1]
    start = int(rng.integers(0, noise.size - count))
    return noise[start : start + count].reshape(shape)


def smooth_field(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> Field:
    """A section of a smooth field, at the same scale for every grid size."""
    mottle = shared_lattices().mottle[kind]
    rows = (np.arange(shape[0]) * 352 / shape[0]).astype(int) + int(rng.integers(1024))
    columns = (np.arange(shape[1]) * 144 / shape[1]).astype(int) + int(rng.integers(512))
    result: Field = mottle[rows[:, None] % 1024, columns[None] % 512]
    return result
