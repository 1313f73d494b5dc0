"""Speckle statistics against theory."""

import numpy as np
import pytest

from echoapex.phantom import Imaging
from echoapex.phantom.scan import PAD_BEAMS, GridSize, PolarGrid
from echoapex.phantom.speckle import PointSpread, TissueSpeckle, noise_field, shared_lattices, smooth_field
from echoapex.phantom.views import Pose

POSE = Pose(np.zeros(3), np.array([0, 1.0, 0]), np.array([1.0, 0, 0]), depth_mm=150.0, field_of_view_deg=80.0)
GRID = PolarGrid(POSE, GridSize.for_image(256))
IMAGING = Imaging()


def received(seed: int, imaging: Imaging = IMAGING) -> np.ndarray:
    """The complex echo of uniform tissue, without padding."""
    spread = PointSpread(imaging, GRID)
    speckle = TissueSpeckle(GRID, spread, np.random.default_rng(seed))
    still = (GRID.x_mm, GRID.y_mm, np.zeros_like(GRID.x_mm))
    return spread.blur(speckle.scatterers(still))[:, PAD_BEAMS:-PAD_BEAMS]


def autocorrelation_width(signal: np.ndarray, axis: int, step: float) -> float:
    """Full width at half maximum of the magnitude of the field's autocorrelation."""
    lags = np.arange(12)
    moved = np.moveaxis(signal, axis, 0)
    length = moved.shape[0] - lags[-1]
    curve = np.array([abs(np.vdot(moved[:length], moved[lag : lag + length])) for lag in lags])
    curve /= curve[0]
    crossing = int(np.argmax(curve < 0.5))
    part = (curve[crossing - 1] - 0.5) / (curve[crossing - 1] - curve[crossing])
    return 2 * (crossing - 1 + part) * step


def test_envelope_is_rayleigh() -> None:
    ratios = [(e := np.abs(received(seed))[40:]).mean() / e.std() for seed in range(4)]
    assert np.mean(ratios) == pytest.approx(1.91, abs=0.1)
    envelope = np.sort((np.abs(received(0))[40:] / np.sqrt((np.abs(received(0))[40:] ** 2).mean())).ravel())
    empirical = np.arange(envelope.size) / envelope.size
    assert np.abs(empirical - (1 - np.exp(-(envelope**2)))).max() < 0.03


def test_speckle_is_as_bright_at_every_depth() -> None:
    power = np.mean([(np.abs(received(seed)) ** 2).mean(1) for seed in range(6)], axis=0)
    bands = [band.mean() for band in np.array_split(power[20:], 6)]
    assert max(bands) / min(bands) < 1.25


def test_axial_speckle_size_is_that_of_the_pulse() -> None:
    # the autocorrelation of a Gaussian field is wider than its kernel by the square root of two
    widths = [autocorrelation_width(received(seed), 0, GRID.sample_mm) / np.sqrt(2) for seed in range(3)]
    assert np.mean(widths) == pytest.approx(IMAGING.axial_fwhm_mm, rel=0.15)


def test_lateral_speckle_size_follows_the_point_spread() -> None:
    imaging = Imaging(focus_mm=100, lateral_fwhm_deg=1.8)
    at_focus = np.abs(GRID.ranges_mm - 100) < 12
    widths = []
    for seed in range(4):
        width = autocorrelation_width(received(seed, imaging)[at_focus], 1, np.degrees(GRID.beam_angle))
        widths.append(width / np.sqrt(2))
    expected = 1.8 * (1 + 0.9 * np.exp(-100 / 35))
    assert np.mean(widths) == pytest.approx(expected, rel=0.2)


def test_speckle_moves_with_the_tissue() -> None:
    spread = PointSpread(IMAGING, GRID)
    speckle = TissueSpeckle(GRID, spread, np.random.default_rng(0))
    step = 4 * GRID.sample_mm
    zero = np.zeros_like(GRID.x_mm)
    along = GRID.ranges_mm[:, None] * np.ones_like(GRID.x_mm)
    across = np.arange(GRID.shape[1], dtype=np.float32)[None] * np.float32(1.2) * np.ones_like(GRID.x_mm)
    before = speckle.scatterers((across, along, zero))
    after = speckle.scatterers((across, along - np.float32(step), zero))
    kept = np.vdot(before[20:-4], after[24:]) / np.linalg.norm(before[20:-4]) / np.linalg.norm(after[24:])
    assert abs(kept) > 0.9
    still = np.vdot(before[20:], after[20:]) / np.linalg.norm(before[20:]) / np.linalg.norm(after[20:])
    assert abs(still) < 0.3


def test_lattices_and_noise_have_unit_power() -> None:
    lattices = shared_lattices()
    assert np.mean(np.abs(lattices.scatterers) ** 2) == pytest.approx(1, rel=0.01)
    assert np.mean(np.abs(lattices.noise) ** 2) == pytest.approx(1, rel=0.01)
    assert lattices.texture.std() == pytest.approx(1, rel=0.01)


def test_noise_and_mottle_repeat_with_their_generator() -> None:
    for draw in (lambda rng: noise_field(GRID.shape, rng), lambda rng: smooth_field("fine", GRID.shape, rng)):
        first, same, other = (draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, same)
        assert (first != other).any()
