from __future__ import annotations

import numpy as np
import pytest

from echoapex.domain import Landmarks, Sector, WallPoint
from echoapex.infer.outputs.frame_picture import Placement, draw_frame, draw_outlines, draw_walls, sector_box
from echoapex.io.pictures import STRUCTURE_COLOURS
from echoapex.vocabulary import Structure

FRAME = np.full((100, 120), 90, np.uint8)
SECTOR = Sector((20.0, 10.0, 100.0, 90.0))


def test_outside_the_sector_nothing_is_shown() -> None:
    placement = Placement((0, 0, 120, 100), (200, 240))
    picture = draw_frame(FRAME, placement, SECTOR)
    assert picture[100, 120].tolist() == [90, 90, 90]
    assert picture[5, 5].tolist() == [0, 0, 0]
    assert draw_frame(FRAME, placement, SECTOR, show_all_pixels=True)[5, 5].tolist() == [90, 90, 90]


def test_without_a_sector_pixels_could_name_the_patient_and_stay_hidden() -> None:
    placement = Placement((0, 0, 120, 100), (200, 240))
    assert not draw_frame(FRAME, placement, None).any()
    assert draw_frame(FRAME, placement, None, show_all_pixels=True).any()


def test_points_are_placed_where_the_pixels_are() -> None:
    placement = Placement((20, 10, 100, 90), (160, 320))
    assert placement.scale == pytest.approx(2)
    frame = np.zeros((100, 120), np.uint8)
    frame[50, 60] = 255
    picture = draw_frame(frame, placement, None, show_all_pixels=True)
    x, y = placement.map_point(60, 50)
    row, column = np.unravel_index(picture[..., 0].argmax(), picture.shape[:2])
    assert abs(row - y) <= 1
    assert abs(column - x) <= 1


def test_outlines_have_the_colour_of_their_structure() -> None:
    labels = np.zeros((100, 120), np.uint8)
    labels[30:70, 40:80] = Structure.LEFT_ATRIUM
    placement = Placement((0, 0, 120, 100), (100, 120))
    picture = np.zeros((100, 120, 3), np.uint8)
    draw_outlines(picture, labels, placement)
    edge = picture[30, 60].astype(int)
    assert np.abs(edge - STRUCTURE_COLOURS[Structure.LEFT_ATRIUM]).max() < 60
    assert 0 < picture[50, 60].max() < edge.max()
    assert not picture[10, 10].any()


def test_wall_points_are_drawn() -> None:
    placement = Placement((0, 0, 120, 100), (100, 120))
    picture = np.zeros((100, 120, 3), np.uint8)
    points = {point: (60.0, 20.0 + 15 * index) for index, point in enumerate(WallPoint)}
    draw_walls(picture, Landmarks(0, points, dict.fromkeys(WallPoint, 1.0)), placement)
    assert picture[20, 60].tolist() == [255, 255, 255]
    assert picture[28, 60].max() > 100


def test_the_shown_part_is_the_sector_with_a_margin_inside_the_image() -> None:
    assert sector_box(None, (100, 120)) == (0, 0, 120, 100)
    x0, y0, x1, y1 = sector_box(SECTOR, (100, 120))
    assert x0 < 20 < 100 < x1 <= 120
    assert 0 <= y0 < 10 < 90 < y1 <= 100
