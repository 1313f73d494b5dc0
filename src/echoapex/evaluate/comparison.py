"""Compare two sets of results on the same cases: each metric's difference by resampling patients, and a rank test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from echoapex.config import Config
from echoapex.evaluate.cases import Cases
from echoapex.evaluate.metrics_file import BOOTSTRAP_SAMPLES
from echoapex.metrics import MetricError, paired_bootstrap
from echoapex.vocabulary import Quantity, Structure

COMPARISON_VERSION = "1.0"


class Comparison(Config):
    """One metric of both sets, on the cases that both answered.

    Attributes:
        metric: name of the metric.
        unit: unit of the metric; empty for shares.
        higher_is_better: whether higher values are better.
        n: number of cases; patients: number of patients.
        first, second: the mean of each set.
        difference: second minus first, with its 95 % interval from resampled patients.
        p_bootstrap: two-sided p value from the same resamples.
        p_wilcoxon: p value of the signed-rank test on the means per patient; None if nothing differs, or with fewer
            than six patients, because it cannot reach 0.05 then.
    """

    metric: str
    unit: str = ""
    higher_is_better: bool
    n: int
    patients: int
    first: float
    second: float
    difference: float
    interval: tuple[float, float]
    p_bootstrap: float
    p_wilcoxon: float | None


class ComparisonFile(Config):
    """Content of ``comparison.json``; ``first`` is the set given by ``--against``."""

    comparison_version: str = COMPARISON_VERSION
    dataset: str
    first: dict[str, str]
    second: dict[str, str]
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class _Metric:
    name: str
    unit: str
    higher_is_better: bool
    values: Callable[[Cases], Mapping[tuple[str, ...], float]]
    """Values by case; the first part of the key is the patient."""


def compare_cases(first: Cases, second: Cases) -> list[Comparison]:
    """Compare every metric for which both sets have answers of at least two patients.

    Sources: Efron and Tibshirani, "An introduction to the bootstrap", 1993; Wilcoxon, Biometrics Bulletin 1945.
    """
    found = (_compare(metric, metric.values(first), metric.values(second)) for metric in _metrics())
    return [comparison for comparison in found if comparison is not None]


def _metrics() -> list[_Metric]:
    overlaps = [
        _Metric(f"Dice, {structure.key}", "", True, lambda cases, s=structure: _dice(cases, s))  # type: ignore[misc]
        for structure in Structure
    ]
    errors = [
        _Metric(f"absolute error, {quantity.value}", unit, False, lambda cases, q=quantity: _error(cases, q))  # type: ignore[misc]
        for quantity, unit in (
            (Quantity.LVEF, "points"), (Quantity.LVEF_DISCS, "points"), (Quantity.EDV, "mL"), (Quantity.ESV, "mL"),
            (Quantity.IVSD, "mm"), (Quantity.LVIDD, "mm"), (Quantity.LVPWD, "mm"),
        )
    ]  # fmt: skip
    return [_Metric("views right", "", True, _views_right), *overlaps, *errors]


def _views_right(cases: Cases) -> dict[tuple[str, ...], float]:
    return {(case.patient, case.clip): float(case.predicted == case.truth.value) for case in cases.views}


def _dice(cases: Cases, structure: Structure) -> dict[tuple[str, ...], float]:
    chosen = (case for case in cases.masks if case.structure is structure)
    return {(case.patient, case.clip, str(case.frame)): case.dice for case in chosen}


def _error(cases: Cases, quantity: Quantity) -> dict[tuple[str, ...], float]:
    return {
        (case.patient, case.study): abs(case.measured - case.truth)
        for case in cases.values
        if case.quantity is quantity and case.measured is not None
    }


def _compare(
    metric: _Metric, first: Mapping[tuple[str, ...], float], second: Mapping[tuple[str, ...], float]
) -> Comparison | None:
    keys = sorted(first.keys() & second.keys())
    patients = [key[0] for key in keys]
    names = sorted(set(patients))
    if len(names) < 2:
        return None
    before, after = np.array([first[key] for key in keys]), np.array([second[key] for key in keys])
    try:
        found = paired_bootstrap(np.mean, (before,), (after,), groups=np.array(patients), samples=BOOTSTRAP_SAMPLES)
    except MetricError:
        return None
    return Comparison(
        metric=metric.name,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        n=len(keys),
        patients=len(names),
        first=float(before.mean()),
        second=float(after.mean()),
        difference=found.difference,
        interval=(found.low, found.high),
        p_bootstrap=found.p_value,
        p_wilcoxon=_signed_rank(after - before, patients, names),
    )


def _signed_rank(differences: np.ndarray, patients: Sequence[str], names: Sequence[str]) -> float | None:
    """Signed-rank test on one mean per patient, because frames of one patient are not independent."""
    of = np.array(patients)
    means = np.array([differences[of == name].mean() for name in names])
    if len(names) < 6 or not np.any(means):
        return None
    return float(stats.wilcoxon(means).pvalue)
