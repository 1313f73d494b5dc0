"""The same scores for those who share a trait: men and women, young and old, good images and poor ones."""

from __future__ import annotations

from collections.abc import Sequence

from echoapex.evaluate.cases import Cases
from echoapex.evaluate.metrics_file import Score, SubgroupScores
from echoapex.evaluate.reference import ReferenceStudy
from echoapex.evaluate.scores import mean_error, score_mean, score_values
from echoapex.metrics import mean_absolute_error
from echoapex.vocabulary import Quantity, Structure


def score_subgroups(
    studies: Sequence[ReferenceStudy], cases: Cases, views_given: bool
) -> dict[str, dict[str, SubgroupScores]]:
    """Scores by trait and by its value; traits that all patients share tell nothing and are left out."""
    names = sorted({name for study in studies for name in study.traits})
    found: dict[str, dict[str, SubgroupScores]] = {}
    for name in names:
        values = sorted({study.traits[name] for study in studies if name in study.traits})
        if len(values) > 1:
            found[name] = {value: _score(cases, _patients(studies, name, value), views_given) for value in values}
    return found


def _patients(studies: Sequence[ReferenceStudy], name: str, value: str) -> set[str]:
    return {study.patient for study in studies if study.traits.get(name) == value}


def _score(cases: Cases, patients: set[str], views_given: bool) -> SubgroupScores:
    views = [case for case in cases.views if case.patient in patients]
    values = [case for case in cases.values if case.patient in patients]
    right = [float(case.predicted == case.truth.value) for case in views]
    return SubgroupScores(
        patients=len(patients),
        views=Score() if views_given else score_mean(right, [case.patient for case in views]),
        lv_cavity_dice=_dice(cases, patients, Structure.LV_CAVITY),
        lv_myocardium_dice=_dice(cases, patients, Structure.LV_MYOCARDIUM),
        ejection_fraction_mae=score_values(mean_absolute_error, values, Quantity.LVEF),
        ejection_fraction_bias=score_values(mean_error, values, Quantity.LVEF),
    )


def _dice(cases: Cases, patients: set[str], structure: Structure) -> Score:
    chosen = [case for case in cases.masks if case.structure is structure and case.patient in patients]
    missing = sum(case.missing for case in chosen)
    return score_mean([case.dice for case in chosen], [case.patient for case in chosen], missing)
