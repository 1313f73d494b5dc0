"""A fan fitted to an area with known geometry."""

import numpy as np
import pytest

from echoapex.io.fan import best_fan, filled, hull_of, without_marks


def _fan(apex: tuple[float, float], half_deg: float, radii: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
    rows, columns = np.indices(size)
    x, y = columns - apex[0], rows - apex[1]
    radius = np.hypot(x, y)
    return (np.abs(np.degrees(np.arctan2(x, y))) < half_deg) & (radius > radii[0]) & (radius < radii[1])


@pytest.mark.parametrize(("half_deg", "near"), [(30, 0), (42, 20), (35, 110)])
def test_geometry_is_recovered(half_deg: float, near: float) -> None:
    area = _fan((200.0, 15.0), half_deg, (near, 300.0), (340, 400))

    fan = best_fan([area], area)

    assert fan is not None and fan.is_good
    assert fan.opening_deg == pytest.approx(2 * half_deg, abs=2)
    assert fan.apex_xy == pytest.approx((200, 15), abs=6)
    assert fan.radii_px == pytest.approx((near, 300), abs=8)
    assert fan.covered > 0.95


def test_the_part_of_a_cut_fan_is_no_fan_of_its_own() -> None:
    whole = _fan((200.0, 15.0), 40, (0, 300.0), (340, 400))
    columns = np.indices(whole.shape)[1]
    parts = whole & (np.abs(columns - 190) > 20)
    largest = parts & (columns > 190)

    fan = best_fan([largest, parts], parts)

    assert fan is not None
    assert fan.opening_deg == pytest.approx(80, abs=4)


def test_a_square_is_no_good_fan() -> None:
    area = np.zeros((300, 300), bool)
    area[50:250, 50:250] = True

    fan = best_fan([area], area)

    assert fan is None or fan.opening_deg > 100 or fan.covered < 0.8


def test_dots_and_strokes_are_marks() -> None:
    lit = np.zeros((300, 300), bool)
    lit[100:200, 100:200] = True
    lit[20:22, 10:200] = True
    lit[30:33, 30:33] = True

    kept = without_marks(lit)

    assert kept[110:190, 110:190].all()
    assert not kept[:40].any()


def test_hull_and_filling_agree() -> None:
    area = np.zeros((60, 60), bool)
    area[10:40, 20:50] = True

    assert (filled(hull_of(area), area.shape) == area).mean() > 0.98
