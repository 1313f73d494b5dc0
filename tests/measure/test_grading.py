"""Grades are those of the guideline, at and beside each of its limits."""

from __future__ import annotations

import pytest

from echoapex.domain import Evidence, Measurement
from echoapex.measure.grading import Grade, grade_measurement
from echoapex.measure.reference_limits import read_reference_limits
from echoapex.vocabulary import Quantity

EVIDENCE = (Evidence(clip_id="c", row_mm=0.3, column_mm=0.3),)


def grade(quantity: Quantity, value: float, sex: str | None) -> Grade | None:
    item = Measurement(quantity=quantity, value=value, method="test", evidence=EVIDENCE)
    found = grade_measurement(item, sex)
    return found.grade if found else None


@pytest.mark.parametrize(
    ("value", "women", "men"),
    [
        (75, Grade.ABOVE, Grade.ABOVE),
        (74, Grade.NORMAL, Grade.ABOVE),
        (72, Grade.NORMAL, Grade.NORMAL),
        (54, Grade.NORMAL, Grade.NORMAL),
        (53, Grade.MILD, Grade.NORMAL),
        (51.6, Grade.MILD, Grade.NORMAL),
        (51.4, Grade.MILD, Grade.MILD),
        (41, Grade.MILD, Grade.MILD),
        (40, Grade.MODERATE, Grade.MODERATE),
        (30, Grade.MODERATE, Grade.MODERATE),
        (29, Grade.SEVERE, Grade.SEVERE),
    ],
)
def test_ejection_fraction_has_the_four_grades_of_the_guideline(value: float, women: Grade, men: Grade) -> None:
    for quantity in (Quantity.LVEF, Quantity.LVEF_DISCS):
        assert grade(quantity, value, "F") is women
        assert grade(quantity, value, " m") is men
        assert grade(quantity, value, "O") is (women if women is men else None)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (15, Grade.BELOW),
        (16, Grade.NORMAL),
        (34.4, Grade.NORMAL),
        (35, Grade.MILD),
        (41, Grade.MILD),
        (42, Grade.MODERATE),
        (48, Grade.MODERATE),
        (49, Grade.SEVERE),
    ],
)
def test_left_atrial_volume_index_is_graded_the_same_in_both_sexes(value: float, wanted: Grade) -> None:
    assert {grade(Quantity.LA_VOLUME_INDEX, value, sex) for sex in ("F", "M", None)} == {wanted}


def test_a_range_without_grades_says_the_side() -> None:
    assert grade(Quantity.RV_FAC, 34, "F") is Grade.BELOW
    assert grade(Quantity.RV_FAC, 35, "F") is Grade.NORMAL
    assert grade(Quantity.EDV_INDEX, 70, "F") is Grade.ABOVE
    assert grade(Quantity.EDV_INDEX, 70, "M") is Grade.NORMAL
    assert grade(Quantity.EDV_INDEX, 70, None) is None


def test_strain_is_a_rough_guide_and_says_so() -> None:
    item = Measurement(quantity=Quantity.GLS_ENDOCARDIAL, value=-17.0, method="test")
    found = grade_measurement(item, "F")
    assert found is not None
    assert (found.grade, found.is_rough_guide) == (Grade.ABOVE, True)
    assert "speckle tracking" in found.note
    assert "ASE/EACVI 2015" in found.source


def test_a_quantity_without_a_range_has_no_grade() -> None:
    assert grade(Quantity.SPHERICITY_INDEX, 0.5, "F") is None


def test_every_range_is_in_order_and_inside_what_is_plausible() -> None:
    for quantity, ranges in read_reference_limits().normal_ranges.items():
        low, high = quantity.plausible_range
        for normal in (ranges.F, ranges.M):
            ends = [end for end in (normal.low, normal.high) if end is not None]
            assert ends
            assert ends == sorted(ends)
            assert all(low <= end <= high for end in ends), quantity
            if normal.mild_to is not None and normal.moderate_to is not None:
                assert normal.moderate_to < normal.mild_to < ends[0] or ends[-1] < normal.mild_to < normal.moderate_to
