"""Static artefacts of a clip."""

import dataclasses

import numpy as np
import pytest

from echoapex.phantom import Imaging
from echoapex.phantom.artefacts import ClipPattern, build_pattern
from echoapex.phantom.scan import GridSize, PolarGrid
from echoapex.phantom.views import Pose
from echoapex.vocabulary import View

POSE = Pose(np.zeros(3), np.array([0, 1.0, 0]), np.array([1.0, 0, 0]), depth_mm=150.0, field_of_view_deg=80.0)
GRID = PolarGrid(POSE, GridSize.for_image(128))


def pattern(view: View = View.A4C, seed: int = 0, **settings: float) -> ClipPattern:
    return build_pattern(view, dataclasses.replace(Imaging(), **settings), GRID, np.random.default_rng(seed))


def test_fields_are_positive_single_precision_and_grid_shaped() -> None:
    for field in dataclasses.astuple(pattern()):
        assert field.shape == GRID.shape and field.dtype == np.float32
        assert (field >= 0).all() and np.isfinite(field).all()


def test_a_rib_casts_a_shadow() -> None:
    plain, ribbed = (pattern(View.TEE_4C, dropout=0.0, shadows=count).gain for count in (0, 1))
    loss_db = 20 * np.log10(ribbed / plain)
    assert loss_db[GRID.ranges_mm > 60].min() == pytest.approx(-16, abs=0.5)
    assert loss_db[GRID.ranges_mm < 20].min() == 0


def test_dropout_and_depth_gain_act_as_declared() -> None:
    assert pattern(dropout=0.9).gain.mean() < pattern(dropout=0.0).gain.mean()
    shallow, deep = (np.abs(GRID.ranges_mm - at) < 3 for at in (50, 100))
    flat, rising = pattern(dropout=0.0, depth_gain_db=0.0).gain, pattern(dropout=0.0, depth_gain_db=10.0).gain
    gained = 20 * np.log10((rising[deep] / flat[deep]).mean() / (rising[shallow] / flat[shallow]).mean())
    assert gained == pytest.approx(5.0, abs=0.3)


def test_clutter_is_near_and_noise_is_far() -> None:
    fields = pattern()
    near, far = GRID.ranges_mm < 15, GRID.ranges_mm > 100
    assert fields.near_clutter[near].mean() > 20 * fields.near_clutter[far].mean()
    assert fields.noise[far].mean() > fields.noise[near].mean()


def test_lung_darkens_edges_of_transthoracic_sectors_only() -> None:
    edge = np.abs(GRID.relative_angles) > 0.9

    def darkest(view: View) -> float:
        return min(float(pattern(view, seed, dropout=0.0).gain[-60:, edge].min()) for seed in range(12))

    assert darkest(View.A4C) < 0.5 * darkest(View.TEE_4C)
