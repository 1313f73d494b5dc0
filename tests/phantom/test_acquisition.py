"""Frames of the beam former."""

import numpy as np
import pytest

from echoapex.phantom import Imaging, Patient
from echoapex.phantom.anatomy import Heart
from echoapex.phantom.clip import BeamFormer
from echoapex.phantom.echogenicity import HeartEcho
from echoapex.phantom.scan import GridSize, PolarGrid
from echoapex.phantom.views import verified_pose
from echoapex.vocabulary import Structure, View

HEART = Heart(Patient(seed=0))
GRID = PolarGrid(verified_pose(View.A4C, HEART, 0, 0.3, lambda pose: True), GridSize.for_image(128))


def frame(time_s: float = 0.0, **settings: float) -> np.ndarray:
    imaging = Imaging(**settings)  # type: ignore[arg-type]
    former = BeamFormer(View.A4C, 0, imaging, GRID)
    source = HeartEcho(HEART, View.A4C, GRID, former.pattern, imaging)
    return former.compressed_frame(source, time_s / HEART.patient.beat_s, time_s)


def test_levels_are_compressed_to_the_unit_range() -> None:
    level = frame()
    assert level.shape == (GRID.size.samples, GRID.size.beams) and level.dtype == np.float32
    assert level.min() == 0 and 0.8 < level.max() <= 1


def test_a_frame_depends_on_its_instant_alone() -> None:
    np.testing.assert_array_equal(frame(0.2), frame(0.2))
    assert (frame(0.2) != frame(0.21)).mean() > 0.3


def test_gain_brightens_and_haze_fills_the_cavity() -> None:
    assert frame(gain_db=6.0).mean() > frame(gain_db=0.0).mean() + 0.03
    labels = HEART.labels(GRID.points, 0.0)[:, 8:-8]
    cavity = labels == Structure.LV_CAVITY
    assert np.median(frame(haze_db=-8.0)[cavity]) > np.median(frame(haze_db=-30.0)[cavity]) + 0.1


def test_smoothing_lowers_the_speckle_contrast() -> None:
    muscle = HEART.labels(GRID.points, 0.0)[:, 8:-8] == Structure.LV_MYOCARDIUM
    assert frame(smoothing_px=1.2)[muscle].std() < 0.85 * frame(smoothing_px=0.0)[muscle].std()


def test_the_heart_returns_to_its_place_every_beat() -> None:
    former = BeamFormer(View.A4C, 0, Imaging(), GRID)
    assert np.abs(former.sway_mm(0.0)).max() == 0
    assert 0.3 < np.linalg.norm(former.sway_mm(0.35)) < 2.5
    assert np.linalg.norm(former.sway_mm(0.95)) == pytest.approx(0, abs=1e-6)
