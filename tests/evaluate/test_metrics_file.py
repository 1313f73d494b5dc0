"""Scores of those who share a trait."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from reference_studies import make_study
from written_results import write_results

from echoapex.evaluate.harness import score_predictions
from echoapex.evaluate.reference import ReferenceSet, read_predictions, traits_of
from echoapex.vocabulary import Quantity, View


def reference_with(*traits: dict[str, str]) -> ReferenceSet:
    studies = tuple(replace(make_study(number), traits=each) for number, each in enumerate(traits))
    return ReferenceSet("test", "", studies, "", "")


def test_each_group_has_its_own_error_and_its_own_patients(tmp_path: Path) -> None:
    reference = reference_with({"sex": "F"}, {"sex": "M"}, {"sex": "F"}, {"sex": "M"})
    for study, error in zip(reference.studies, [1.0, -6.0, 3.0, -8.0], strict=True):
        values = dict(study.values) | {Quantity.LVEF: study.values[Quantity.LVEF] + error}
        wrong = {View.PLAX: View.A3C} if error < 0 else {}
        write_results(tmp_path / study.patient, study, values=values, views=wrong)
    groups = score_predictions(reference, read_predictions(tmp_path))[0].subgroups["sex"]
    assert set(groups) == {"F", "M"}
    assert (groups["F"].patients, groups["M"].patients) == (2, 2)
    assert groups["F"].ejection_fraction_mae.value == pytest.approx(2)
    assert groups["M"].ejection_fraction_mae.value == pytest.approx(7)
    assert groups["M"].ejection_fraction_bias.value == pytest.approx(-7)
    assert (groups["F"].views.value, groups["M"].views.value) == (1.0, 0.5)
    assert groups["F"].lv_cavity_dice.value == 1.0


def test_patients_whose_trait_is_not_known_are_in_no_group(tmp_path: Path) -> None:
    reference = reference_with({"age": "below 45"}, {}, {"age": "65 and more"})
    for study in reference.studies:
        write_results(tmp_path / study.patient, study)
    groups = score_predictions(reference, read_predictions(tmp_path))[0].subgroups["age"]
    assert sum(group.patients for group in groups.values()) == 2


def test_a_trait_that_all_share_tells_nothing(tmp_path: Path) -> None:
    reference = reference_with({"vendor": "A"}, {"vendor": "A"})
    for study in reference.studies:
        write_results(tmp_path / study.patient, study)
    assert score_predictions(reference, read_predictions(tmp_path))[0].subgroups == {}


def test_traits_are_ranges() -> None:
    assert traits_of("F", 44, "Good", None, 49.9) == {
        "sex": "F", "age": "below 45", "image quality": "Good", "frame rate": "below 50 Hz",
    }  # fmt: skip
    assert traits_of(age_years=64)["age"] == "45 to 64"
    assert traits_of(age_years=65, frame_rate_hz=50) == {"age": "65 and more", "frame rate": "50 Hz and more"}
