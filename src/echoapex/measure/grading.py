"""Grade a value by the normal ranges of a guideline: normal, mildly, moderately or severely abnormal.

The ranges are in ``measure/reference/*.json`` and hold for adults. A grade describes one number; it is no diagnosis.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from echoapex.domain import Measurement
from echoapex.measure.reference_limits import NormalRange, QuantityLimits, ReferenceLimits, read_reference_limits
from echoapex.vocabulary import Quantity


class Grade(StrEnum):
    """Where a value lies; the guideline grades only some quantities, and those on one side only."""

    NORMAL = "normal"
    MILD = "mildly abnormal"
    MODERATE = "moderately abnormal"
    SEVERE = "severely abnormal"
    BELOW = "below the normal range"
    ABOVE = "above the normal range"


_RANGES_OF = {Quantity.LVEF_DISCS: Quantity.LVEF}


@dataclass(frozen=True)
class Grading:
    """A grade with its source; ``is_rough_guide`` where the guideline has no limit of this method."""

    grade: Grade
    source: str
    is_rough_guide: bool = False
    note: str = ""


def grade_measurement(
    measurement: Measurement, sex: str | None, limits: ReferenceLimits | None = None
) -> Grading | None:
    """Grade a measurement of an adult by the normal range of the sex (DICOM patient sex, ``F`` or ``M``).

    For any other or an unknown sex there is a grade only where those of both sexes are the same. None also where the
    guideline has no range of the quantity. Flags of the measurement are not looked at: a flagged value may be wrong.
    Source: Lang et al., ASE/EACVI 2015, doi 10.1016/j.echo.2014.10.003, read from ``measure/reference/ase2015.json``.

    >>> ejection = Measurement(quantity=Quantity.LVEF, value=45.2, method="by hand")
    >>> grade_measurement(ejection, "F").grade.value
    'mildly abnormal'
    >>> grade_measurement(ejection.model_copy(update={"value": 53.0}), None) is None  # normal in men only
    True
    """
    limits = limits or read_reference_limits()
    quantity = _RANGES_OF.get(measurement.quantity, measurement.quantity)
    ranges = limits.normal_ranges.get(quantity)
    if ranges is None:
        return None
    grades = {_grade(limits.rounded(quantity, measurement.value), each) for each in _of_sex(ranges, sex)}
    if len(grades) != 1:
        return None
    return Grading(grades.pop(), limits.source, ranges.is_rough_guide, ranges.note)


def _of_sex(ranges: QuantityLimits, sex: str | None) -> tuple[NormalRange, ...]:
    known = {"F": (ranges.F,), "M": (ranges.M,)}
    return known.get((sex or "").strip().upper(), (ranges.F, ranges.M))


def _grade(value: float, normal: NormalRange) -> Grade:
    below = normal.low is not None and value < normal.low
    above = normal.high is not None and value > normal.high
    if not below and not above:
        return Grade.NORMAL
    plain = Grade.BELOW if below else Grade.ABOVE
    if normal.mild_to is None or normal.moderate_to is None:
        return plain
    graded_below = normal.low is not None and normal.mild_to < normal.low
    if graded_below != below:
        return plain
    distance = -1 if below else 1
    if distance * value <= distance * normal.mild_to:
        return Grade.MILD
    return Grade.MODERATE if distance * value <= distance * normal.moderate_to else Grade.SEVERE
