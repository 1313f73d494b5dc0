"""Signed distances against their closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoapex.phantom.anatomy import geometry

COORDINATE = st.floats(-50, 50, width=32)


def points(*xyz: float) -> geometry.Points:
    x, y, z = (np.array([value], np.float32) for value in xyz)
    return x, y, z


@given(COORDINATE, COORDINATE, COORDINATE)
def test_a_capsule_without_length_variation_is_a_distance_to_a_segment(x: float, y: float, z: float) -> None:
    start, end = np.array([0.0, 0.0, 0.0]), np.array([10.0, 0.0, 0.0])
    nearest = np.array([np.clip(x, 0, 10), 0, 0])
    expected = np.linalg.norm(np.array([x, y, z]) - nearest) - 3
    assert geometry.capsule(points(x, y, z), start, end, 3.0)[0] == pytest.approx(expected, abs=1e-3)


def test_a_tapered_capsule_has_its_radii_at_the_ends() -> None:
    solid = geometry.capsule(points(0, 4, 0), (0, 0, 0), (20, 0, 0), 4.0, 2.0)
    assert solid[0] == pytest.approx(0, abs=1e-5)
    solid = geometry.capsule(points(20, 2, 0), (0, 0, 0), (20, 0, 0), 4.0, 2.0)
    assert solid[0] == pytest.approx(0, abs=1e-5)


@given(st.floats(0.1, 3.0), st.floats(0, 2 * np.pi))
def test_an_ellipsoid_is_zero_on_its_surface(elevation: float, azimuth: float) -> None:
    centre, radii = np.array([1.0, -2.0, 3.0]), np.array([10.0, 20.0, 30.0])
    unit = np.array([np.sin(elevation) * np.cos(azimuth), np.sin(elevation) * np.sin(azimuth), np.cos(elevation)])
    surface = centre + radii * unit
    assert geometry.ellipsoid(points(*surface), centre, radii)[0] == pytest.approx(0, abs=1e-3)
    outside = geometry.ellipsoid(points(*(centre + 1.05 * radii * unit)), centre, radii)[0]
    inside = geometry.ellipsoid(points(*(centre + 0.95 * radii * unit)), centre, radii)[0]
    assert inside < 0 < outside


@given(st.floats(-20, 20, width=32), st.floats(-20, 20, width=32))
def test_smooth_minimum_is_the_minimum_away_from_the_fillet(a: float, b: float) -> None:
    first, second = np.array([a], np.float32), np.array([b], np.float32)
    smooth = float(geometry.smooth_minimum(first, second, 4.0)[0])
    assert min(a, b) - 1.0 - 1e-4 <= smooth <= min(a, b) + 1e-4
    if abs(a - b) >= 4:
        assert smooth == pytest.approx(min(a, b), abs=1e-4)


def test_segment_distance_beside_and_beyond_the_ends() -> None:
    u, z = np.array([5.0, -3.0], np.float32), np.array([2.0, 4.0], np.float32)
    np.testing.assert_allclose(geometry.segment_distance(u, z, (0.0, 0.0), (10.0, 0.0)), [2.0, 5.0], atol=1e-3)


def test_rotation_keeps_length_and_turns_the_right_way() -> None:
    x, z = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])
    np.testing.assert_allclose(geometry.rotate(x, z, 90), [0, 1, 0], atol=1e-12)
    assert np.linalg.norm(geometry.rotate(np.array([1.0, 2, 3]), np.array([1.0, 1, 0]), 37)) == pytest.approx(14**0.5)


def test_fields_stay_in_single_precision() -> None:
    single = points(1, 2, 3)
    assert geometry.capsule(single, np.zeros(3), np.ones(3), 2.0, 1.0).dtype == np.float32
    assert geometry.ellipsoid(single, np.zeros(3), np.ones(3)).dtype == np.float32
    assert geometry.smooth_minimum(single[0], single[1], 3.0).dtype == np.float32
