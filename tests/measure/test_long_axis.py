"""The long axis of shapes whose base and apex are known."""

import numpy as np
import pytest

from echoapex.measure import MeasureError
from echoapex.measure.outline import chord_lengths, find_long_axis, resample_outline

WIDTH, LENGTH = 44.0, 84.0


def lv(points: int = 300, tilt: float = 0.0) -> np.ndarray:
    """Half-ellipse with its apex at (0, LENGTH); ``tilt`` lowers the base at the right and lifts it at the left."""
    angle = np.linspace(0, np.pi, points)
    outline = np.column_stack([WIDTH / 2 * np.cos(angle), LENGTH * np.sin(angle)])
    base = np.column_stack([np.linspace(-WIDTH / 2, WIDTH / 2, 80), np.zeros(80)])
    base[:, 1] -= tilt * base[:, 0]
    outline[:, 1] -= tilt * outline[:, 0] * (1 - outline[:, 1] / LENGTH)
    return np.vstack([outline, base[1:-1]])


def atrium(gap: float = 0.5, tilt: float = 0.0) -> np.ndarray:
    top = np.column_stack([np.linspace(-18, 18, 60), np.full(60, -gap)])
    top[:, 1] -= tilt * top[:, 0]
    return np.vstack([top, [[18.0, -35.0], [-18.0, -35.0]]])


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


@pytest.mark.parametrize("degrees", [0, 37, 90, 161, 270])
@pytest.mark.parametrize("gap", [0.0, 0.5, 3.0])
def test_the_atrium_shows_the_mitral_plane(degrees: float, gap: float) -> None:
    axis = find_long_axis(turned(lv(), degrees), turned(atrium(gap), degrees))
    assert axis.annulus is not None
    assert turned(axis.base, -degrees) == pytest.approx([0, 0], abs=1.0)
    assert turned(axis.apex, -degrees) == pytest.approx([0, LENGTH], abs=1.5)
    assert axis.length == pytest.approx(LENGTH, abs=0.5)


def test_a_tilted_mitral_plane_is_followed() -> None:
    axis = find_long_axis(lv(tilt=0.35), atrium(tilt=0.35))
    assert axis.annulus is not None
    left, right = axis.annulus[axis.annulus[:, 0].argsort()]
    assert (right[1] - left[1]) / (right[0] - left[0]) == pytest.approx(-0.35, abs=0.06)
    assert axis.base == pytest.approx([0, 0], abs=1.5)


@pytest.mark.parametrize("far", [atrium(gap=20.0), atrium() + np.array([45.0, 30.0])], ids=["gap", "beside"])
def test_an_atrium_that_does_not_border_the_cavity_is_left_aside(far: np.ndarray) -> None:
    assert find_long_axis(lv(), far).annulus is None
    assert np.allclose(find_long_axis(lv(), far).base, find_long_axis(lv()).base)


@pytest.mark.parametrize("degrees", [0, 37, 90, 161, 270])
def test_without_an_atrium_the_flat_end_is_the_base(degrees: float) -> None:
    axis = find_long_axis(turned(lv(), degrees))
    assert axis.annulus is None
    assert turned(axis.base, -degrees) == pytest.approx([0, 0], abs=0.5)
    assert axis.length == pytest.approx(LENGTH, abs=0.5)


def test_the_probe_decides_where_the_shape_cannot() -> None:
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    ellipse = np.column_stack([20 * np.cos(angle), 40 * np.sin(angle)])
    for probe_y in (-100.0, 100.0):
        axis = find_long_axis(ellipse, probe=np.array([0.0, probe_y]))
        assert np.sign(axis.apex[1]) == np.sign(probe_y)
        assert axis.length == pytest.approx(80, abs=0.1)


def test_chords_of_a_circle() -> None:
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    circle = 10 * np.column_stack([np.cos(angle), np.sin(angle)])
    levels = np.array([-11.0, -6.0, 0.0, 8.0])
    for direction in (0.0, 0.7, 2.0):
        normal = np.array([np.cos(direction), np.sin(direction)])
        assert chord_lengths(circle, normal, levels) == pytest.approx([0, 16, 20, 12], abs=1e-3)
        assert chord_lengths(circle[::-1], normal, levels) == pytest.approx([0, 16, 20, 12], abs=1e-3)


def test_a_chord_across_a_bay_counts_only_what_lies_inside() -> None:
    horseshoe = np.array([[0, 0], [9, 0], [9, 6], [6, 6], [6, 2], [3, 2], [3, 6], [0, 6]], dtype=float)
    assert chord_lengths(horseshoe, np.array([0.0, 1.0]), np.array([1.0, 4.0])).tolist() == [9.0, 6.0]


def test_resampling_keeps_the_shape_and_evens_the_points() -> None:
    resampled = resample_outline(lv(), 1.0)
    steps = np.linalg.norm(np.diff(resampled, axis=0), axis=1)
    assert steps.max() < 1.05
    assert np.median(steps) == pytest.approx(1, abs=0.02)


def test_a_line_has_no_axis() -> None:
    with pytest.raises(MeasureError, match="no area"):
        find_long_axis(np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]))
