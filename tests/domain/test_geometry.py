"""Geometry goes there and back, and unknown calibration is never a number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoapex.domain import FrameTransform, Spacing

positive = st.floats(0.05, 5)
boxes = st.tuples(st.floats(-50, 200), st.floats(-50, 200), st.floats(20, 500), st.floats(20, 500)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
sizes = st.tuples(st.integers(8, 400), st.integers(8, 400))


@pytest.mark.parametrize("bad", [0.0, -0.3, float("nan"), float("inf")])
def test_a_spacing_is_positive_and_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="row_mm"):
        Spacing(row_mm=bad, column_mm=0.3)
    with pytest.raises(ValueError, match="column_mm"):
        Spacing(row_mm=0.3, column_mm=bad)


@given(positive, positive)
def test_distances_and_areas_follow_their_axis(row_mm: float, column_mm: float) -> None:
    spacing = Spacing(row_mm, column_mm)
    origin = np.array([3.0, 4.0])
    assert spacing.distance_mm(origin, origin + np.array([10, 0])) == pytest.approx(10 * column_mm)
    assert spacing.distance_mm(origin, origin + np.array([0, 10])) == pytest.approx(10 * row_mm)
    assert spacing.pixel_area_mm2 == pytest.approx(row_mm * column_mm)


@given(boxes, sizes, sizes)
@settings(deadline=None)
def test_points_come_home(box, source, target) -> None:
    transform = FrameTransform.crop_resize(box, source, target)
    points = np.array([[0.0, 0.0], [17.25, 90.5], [-3.0, 400.0]])
    there_and_back = transform.inverse.map_points(transform.map_points(points))
    assert np.allclose(there_and_back, points, atol=1e-6)
    assert transform.inverse.source_size == target


@given(boxes, sizes)
def test_edges_of_the_box_become_edges_of_the_target(box, target) -> None:
    transform = FrameTransform.crop_resize(box, (400, 400), target)
    corners = np.array([[box[0], box[1]], [box[2], box[3]]]) - 0.5
    expected = np.array([[-0.5, -0.5], [target[1] - 0.5, target[0] - 0.5]])
    # a box in pixel edges 0 .. width spans centres -0.5 .. width - 0.5
    assert np.allclose(transform.map_points(corners), expected, atol=1e-6)


@given(boxes, sizes, positive, positive)
@settings(deadline=None)
def test_lengths_in_mm_survive_the_map(box, target, row_mm: float, column_mm: float) -> None:
    spacing, transform = Spacing(row_mm, column_mm), FrameTransform.crop_resize(box, (300, 300), target)
    a, b = np.array([10.0, 20.0]), np.array([150.0, 90.0])
    mapped = transform.map_spacing(spacing).distance_mm(transform.map_points(a), transform.map_points(b))
    assert mapped == pytest.approx(spacing.distance_mm(a, b), rel=1e-6)


def test_a_turned_image_has_no_spacing_per_axis() -> None:
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    with pytest.raises(ValueError, match="rotated or sheared"):
        FrameTransform(turn, (10, 10), (10, 10)).map_spacing(Spacing(0.3, 0.3))


@pytest.mark.parametrize(
    ("matrix", "source", "words"),
    [
        (np.zeros((3, 3)), (10, 10), "invertible"),
        (np.eye(2), (10, 10), "invertible"),
        (np.full((3, 3), np.nan), (10, 10), "invertible"),
        (np.eye(3), (0, 10), "at least 1"),
    ],
)
def test_a_map_without_a_way_home_is_refused(matrix: np.ndarray, source, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FrameTransform(matrix, source, (10, 10))


def test_the_matrix_cannot_be_changed_afterwards() -> None:
    transform = FrameTransform(np.eye(3), (10, 10), (10, 10))
    with pytest.raises(ValueError, match="read-only"):
        transform.matrix[0, 0] = 2
