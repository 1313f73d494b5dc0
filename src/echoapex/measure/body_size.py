"""Body surface area, by which chamber sizes are indexed."""

from __future__ import annotations

from echoapex.measure.errors import MeasureError

_HEIGHT_RANGE_M = (0.3, 2.6)
_WEIGHT_RANGE_KG = (1.0, 400.0)


def body_surface_area_mosteller(height_m: float, weight_kg: float) -> float:
    """Body surface area in m2 after Mosteller: ``sqrt(height_cm * weight_kg / 3600)``.

    Source: Mosteller, N Engl J Med 1987, doi 10.1056/NEJM198710223171717.

    >>> round(body_surface_area_mosteller(1.80, 80), 2)
    2.0

    Raises:
        MeasureError: the height or weight is not a person's, for instance in cm instead of m.
    """
    _require_person(height_m, weight_kg)
    return float((100 * height_m * weight_kg / 3600) ** 0.5)


def body_surface_area_dubois(height_m: float, weight_kg: float) -> float:
    """Body surface area in m2 after DuBois: ``0.007184 * weight_kg^0.425 * height_cm^0.725``.

    Source: DuBois & DuBois, Arch Intern Med 1916, doi 10.1001/archinte.1916.00080130010002.

    >>> round(body_surface_area_dubois(1.80, 80), 2)
    2.0

    Raises:
        MeasureError: the height or weight is not a person's, for instance in cm instead of m.
    """
    _require_person(height_m, weight_kg)
    return float(0.007184 * weight_kg**0.425 * (100 * height_m) ** 0.725)


def index_to_body(value: float, body_surface_area_m2: float) -> float:
    """A value per m2 of body surface area, as the guideline indexes mass and volumes (Lang et al. 2015).

    >>> index_to_body(190.0, 2.0)
    95.0

    Raises:
        MeasureError: the area is not positive.
    """
    if not body_surface_area_m2 > 0:
        raise MeasureError(
            f"a body surface area of {body_surface_area_m2:g} m2 is not possible; give height and weight"
        )
    return value / body_surface_area_m2


def _require_person(height_m: float, weight_kg: float) -> None:
    if not _HEIGHT_RANGE_M[0] <= height_m <= _HEIGHT_RANGE_M[1]:
        raise MeasureError(f"a height of {height_m:g} m is not a person's; give it in metres")
    if not _WEIGHT_RANGE_KG[0] <= weight_kg <= _WEIGHT_RANGE_KG[1]:
        raise MeasureError(f"a weight of {weight_kg:g} kg is not a person's; give it in kilograms")
