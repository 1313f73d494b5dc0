"""Two methods on the same cases: paired, by patient, and only where both answered."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from echoapex.evaluate.cases import Cases, MaskCase, ValueCase, ViewCase
from echoapex.evaluate.comparison import Comparison, compare_cases
from echoapex.vocabulary import Quantity, Structure, View


def cases_with(dice: list[float], errors: list[float | None], right: list[bool]) -> Cases:
    """Two masks, one clip and one ejection fraction per patient."""
    views, masks, values = [], [], []
    for number, (overlap, error, is_right) in enumerate(zip(dice, errors, right, strict=True)):
        patient = f"p{number}"
        views.append(ViewCase(patient, "A4C", View.A4C, "A4C" if is_right else "A2C"))
        for frame in (0, 9):
            masks.append(MaskCase(patient, "A4C", View.A4C, frame, Structure.LV_CAVITY, overlap, missing=False))
        measured = None if error is None else 50 + error
        values.append(ValueCase(patient, Quantity.LVEF, Quantity.LVEF, 50.0, measured))
    return Cases(tuple(views), tuple(masks), tuple(values))


BEFORE = cases_with([0.80, 0.82, 0.84, 0.86, 0.88, 0.90], [-6, 5, 4, -7, 6, 5], [True] * 3 + [False] * 3)
AFTER = cases_with([0.85, 0.87, 0.86, 0.93, 0.90, 0.93], [-3, 2, 4, -3, None, 1], [True] * 6)


def found(metric: str) -> Comparison:
    return {comparison.metric: comparison for comparison in compare_cases(BEFORE, AFTER)}[metric]


def test_the_difference_is_that_of_the_means() -> None:
    dice = found("Dice, lv_cavity")
    assert (dice.n, dice.patients) == (12, 6)
    assert dice.second - dice.first == pytest.approx(dice.difference) == pytest.approx(0.04)
    assert 0 < dice.interval[0] < dice.difference < dice.interval[1]
    assert dice.p_bootstrap < 0.05
    assert dice.p_wilcoxon == pytest.approx(stats.wilcoxon([0.05, 0.05, 0.02, 0.07, 0.02, 0.03]).pvalue)


def test_only_cases_that_both_answered_are_compared() -> None:
    error = found("absolute error, lvef")
    assert (error.n, error.unit, error.higher_is_better) == (5, "points", False)
    assert error.first == pytest.approx(np.mean([6, 5, 4, 7, 5]))
    assert error.second == pytest.approx(np.mean([3, 2, 4, 3, 1]))
    assert error.p_wilcoxon is None, "five patients cannot reach 0.05"


def test_views_are_compared_by_clip() -> None:
    views = found("views right")
    assert (views.first, views.second, views.n) == (0.5, 1.0, 6)


def test_the_same_results_do_not_differ() -> None:
    for comparison in compare_cases(BEFORE, BEFORE):
        assert comparison.difference == 0
        assert comparison.p_bootstrap == 1
        assert comparison.p_wilcoxon is None


def test_one_patient_is_no_comparison() -> None:
    one = cases_with([0.8], [1.0], [True])
    assert compare_cases(one, one) == []
