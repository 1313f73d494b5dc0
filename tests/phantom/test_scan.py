"""Polar grid, image geometry and grey map."""

import cv2
import numpy as np
import pytest

from echoapex.phantom import Imaging
from echoapex.phantom.scan import (
    PAD_BEAMS,
    GridSize,
    PolarGrid,
    ScanConverter,
    build_grey_map,
    image_side_mm,
    in_image,
)
from echoapex.phantom.views import Pose

POSE = Pose(np.zeros(3), np.array([0, 1.0, 0]), np.array([1.0, 0, 0]), depth_mm=150.0, field_of_view_deg=80.0)
GRID = PolarGrid(POSE, GridSize.for_image(128))


def test_grid_spans_the_sector() -> None:
    assert GRID.ranges_mm[0] == pytest.approx(2) and GRID.ranges_mm[-1] == pytest.approx(150)
    edges = GRID.relative_angles[[PAD_BEAMS, -PAD_BEAMS - 1]]
    np.testing.assert_allclose(edges, [-1, 1], atol=1e-5)
    np.testing.assert_allclose(
        np.hypot(GRID.x_mm, GRID.y_mm), np.repeat(GRID.ranges_mm[:, None], GRID.shape[1], 1), rtol=1e-5
    )


@pytest.mark.parametrize("wing_crop", [0.0, 0.5, 1.0])
def test_pixels_and_points_are_inverse(wing_crop: float) -> None:
    converter = ScanConverter(GRID, 128, wing_crop)
    rows, columns = np.nonzero(converter.inside)
    points = np.stack(converter.points, axis=1)
    for index in (0, len(rows) // 3, len(rows) - 1):
        assert converter.pixel_of(points[index]) == pytest.approx((columns[index], rows[index]), abs=1e-2)
    a, b = np.array([0.0, 50, 0]), np.array([30.0, 90, 0])
    distance_px = np.subtract(converter.pixel_of(b), converter.pixel_of(a))
    assert np.hypot(*distance_px) * converter.spacing.row_mm == pytest.approx(50)


@pytest.mark.parametrize("wing_crop", [0.0, 1.0])
def test_sector_outlines_the_imaged_area(wing_crop: float) -> None:
    converter = ScanConverter(GRID, 128, wing_crop)
    sector = converter.sector
    polygon = np.round(np.array(sector.polygon_xy) * 16).astype(np.int32)
    filled = cv2.fillPoly(np.zeros((128, 128), np.uint8), [polygon], 1, shift=4) > 0
    assert (filled & converter.inside).sum() / (filled | converter.inside).sum() > 0.97
    rows, columns = np.nonzero(converter.inside)
    assert sector.box_xyxy == (columns.min() - 0.5, rows.min() - 0.5, columns.max() + 0.5, rows.max() + 0.5)


def test_cropping_the_wings_fills_the_height() -> None:
    assert image_side_mm(POSE, 1.0) < image_side_mm(POSE, 0.5) < image_side_mm(POSE, 0.0)
    whole = ScanConverter(GRID, 128, 0.0).inside
    assert not whole[:, 0].any() and not whole[:, -1].any()
    assert ScanConverter(GRID, 128, 1.0).inside[:, 0].any()


def test_a_range_gradient_is_converted_to_distance_from_the_probe() -> None:
    converter = ScanConverter(GRID, 128, 0.0)
    polar = np.repeat(np.linspace(0, 1, GRID.size.samples, dtype=np.float32)[:, None], GRID.size.beams, 1)
    image = converter.convert(polar, np.linspace(0, 1, 1024, dtype=np.float32))
    distance = np.linalg.norm(np.stack(converter.points, 1), axis=1)
    np.testing.assert_allclose(image[converter.inside], (distance - 2) / 148, atol=2e-3)
    assert not image[~converter.inside].any()


def test_points_near_the_edges_are_not_in_the_image() -> None:
    assert in_image(POSE, np.array([0.0, 100, 0]), 1.0)
    assert not in_image(POSE, np.array([0.0, 149, 0]), 1.0)
    assert not in_image(POSE, np.array([90.0, 100, 0]), 0.0)
    wing = np.array([80.0, 105, 0])
    assert in_image(POSE, wing, 0.0) and not in_image(POSE, wing, 1.0)


@pytest.mark.parametrize("vendor", ["A", "B", "C", "D"])
def test_grey_maps_rise_from_black_to_white(vendor: str) -> None:
    grey = build_grey_map(Imaging(vendor=vendor))
    assert grey[0] == 0 and grey[-1] == pytest.approx(1) and (np.diff(grey) >= 0).all()
