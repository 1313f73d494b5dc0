"""Body surface area by both formulas, and the unit mistakes they refuse."""

import pytest

from echoapex.measure import MeasureError, body_surface_area_dubois, body_surface_area_mosteller, index_to_body


@pytest.mark.parametrize(("height_m", "weight_kg"), [(1.50, 50), (1.70, 70), (1.90, 110)])
def test_both_formulas_agree_within_a_few_percent_for_adults(height_m: float, weight_kg: float) -> None:
    mosteller = body_surface_area_mosteller(height_m, weight_kg)
    assert body_surface_area_dubois(height_m, weight_kg) == pytest.approx(mosteller, rel=0.05)


def test_worked_values() -> None:
    assert body_surface_area_mosteller(1.60, 62.5) == pytest.approx((160 * 62.5 / 3600) ** 0.5)
    assert body_surface_area_dubois(1.70, 70) == pytest.approx(1.81, abs=0.005)
    assert index_to_body(90.0, 1.8) == pytest.approx(50.0)


@pytest.mark.parametrize("formula", [body_surface_area_mosteller, body_surface_area_dubois])
@pytest.mark.parametrize(("height_m", "weight_kg"), [(170, 70), (0, 70), (1.7, 0), (1.7, 7000), (float("nan"), 70)])
def test_a_size_in_the_wrong_unit_is_refused(formula, height_m: float, weight_kg: float) -> None:
    with pytest.raises(MeasureError, match="not a person's"):
        formula(height_m, weight_kg)


@pytest.mark.parametrize("area", [0.0, -1.0, float("nan")])
def test_nothing_is_indexed_to_no_body(area: float) -> None:
    with pytest.raises(MeasureError, match="height and weight"):
        index_to_body(100.0, area)
