from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoapex.data.datasets.records import fill_polygon, polygon_area_px, polygon_of_chords


@given(
    centre=st.tuples(st.floats(-5, 60), st.floats(-5, 60)),
    radii=st.tuples(st.floats(3, 30), st.floats(3, 30)),
)
def test_a_filled_ellipse_is_the_ellipse(centre: tuple[float, float], radii: tuple[float, float]) -> None:
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    polygon = np.array(centre) + np.array(radii) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rows, columns = np.mgrid[0:60, 0:64]
    distance = np.hypot((columns - centre[0]) / radii[0], (rows - centre[1]) / radii[1])
    is_clear = np.abs(distance - 1) > 1e-3  # the polygon lies within this of the ellipse
    assert (fill_polygon(polygon, (60, 64)) == (distance < 1))[is_clear].all()
    assert polygon_area_px(polygon) == pytest.approx(np.pi * radii[0] * radii[1], rel=1e-3)


def test_a_pixel_belongs_to_the_polygon_that_holds_its_centre() -> None:
    square = np.array([[0.5, 1.5], [3.5, 1.5], [3.5, 4.5], [0.5, 4.5]])
    expected = np.zeros((6, 6), bool)
    expected[2:5, 1:4] = True
    assert (fill_polygon(square, (6, 6)) == expected).all()
    assert (fill_polygon(square[::-1], (6, 6)) == expected).all()


def test_what_lies_outside_the_frame_is_cut_off() -> None:
    assert fill_polygon(np.array([[-5.0, -5], [50, -5], [50, 50], [-5, 50]]), (7, 9)).all()
    assert not fill_polygon(np.array([[20.0, 20], [30, 20], [30, 30]]), (7, 9)).any()


def test_chords_make_one_simple_outline() -> None:
    chords = np.array([[[3.0, 0], [5, 0]], [[1, 4], [7, 4]], [[2, 8], [6, 8]]])
    polygon = polygon_of_chords(chords)
    assert polygon.tolist() == [[3, 0], [1, 4], [2, 8], [6, 8], [7, 4], [5, 0]]
    assert polygon_area_px(polygon) == 4 * (2 + 6) / 2 + 4 * (6 + 4) / 2
