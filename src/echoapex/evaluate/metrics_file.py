"""The content of ``metrics.json``, and the scores in it.

Each score has its value, its count, a 95 % interval that resamples patients, and the number of cases without an answer.
The same scores are also computed for subgroups of patients who share a trait: sex, age, image quality and others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from echoapex.config import Config
from echoapex.evaluate.cases import Cases, ValueCase
from echoapex.evaluate.reference import ReferenceStudy
from echoapex.metrics import MetricError, bootstrap_interval, mean_absolute_error
from echoapex.vocabulary import Quantity, Structure, View

METRICS_VERSION: Literal["1.3"] = "1.3"

BOOTSTRAP_SAMPLES = 1000
_BOOTSTRAP_SEED = 0


class Score(Config):
    """One score; ``value`` is None if nothing could be scored."""

    value: float | None = None
    n: int = Field(default=0, description="cases behind the value")
    interval: tuple[float, float] | None = Field(
        default=None, description="95 % bootstrap interval, patients resampled; None with fewer than two patients"
    )
    missing: int = Field(default=0, description="cases with a truth for which no answer was written")


class Confusion(Config):
    """Counts of clips: rows are true views, columns predicted ones; the last column is 'no view written'."""

    rows: tuple[View, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Reliability(Config):
    """Clips whose most probable view has a probability in one of ten bins; empty bins are left out."""

    cases: int
    confidence: float = Field(description="mean probability of the most probable view")
    accuracy: float = Field(description="share of the clips for which this view is the true one")


class ViewScores(Config):
    """View classification, one answer per clip; a clip without a view counts as wrong.

    ``given`` is true if the true views were given to the analysis; then there is nothing to score.
    """

    given: bool = False
    accuracy: Score = Field(default=Score(), description="share of clips with the right view")
    balanced_accuracy: Score = Score()
    balanced_accuracy_transthoracic: Score = Field(default=Score(), description="only clips of the surface probe")
    recall: dict[View, Score] = Field(default_factory=dict)
    macro_auroc: Score = Field(default=Score(), description="one-vs-rest ROC area, mean over the views")
    expected_calibration_error: Score = Field(default=Score(), description="of the most probable view, 10 bins")
    reliability: tuple[Reliability, ...] = Field(default=(), description="the bins of the calibration error")
    confusion: Confusion | None = None
    baseline_pixels: Score = Field(
        default=Score(), description="balanced accuracy of pixel PCA + logistic regression on the same clips"
    )


class StructureScores(Config):
    """Overlap of one structure on the labelled frames of all views that show it; a missing mask counts as 0.

    Distances between outlines in mm are means over the frames with an outline and a spacing; others count as missing.
    """

    dice: Score = Score()
    iou: Score = Score()
    hd95_mm: Score = Score()
    surface_mm: Score = Score()
    by_view: dict[View, Score] = Field(default_factory=dict)


class SegmentationScores(Config):
    """The six structures."""

    lv_cavity: StructureScores = StructureScores()
    lv_myocardium: StructureScores = StructureScores()
    left_atrium: StructureScores = StructureScores()
    right_ventricle: StructureScores = StructureScores()
    right_atrium: StructureScores = StructureScores()
    aortic_root: StructureScores = StructureScores()

    def of(self, structure: Structure) -> StructureScores:
        """Scores of one structure."""
        scores: StructureScores = getattr(self, structure.key)
        return scores


class EjectionFractionScores(Config):
    """Agreement per study, in percentage points of ejection fraction."""

    method: Quantity = Quantity.LVEF
    reference: str = ""
    mae: Score = Score()
    rmse: Score = Score()
    r2: Score = Score()
    bias: Score = Field(default=Score(), description="mean of measured minus true")
    lower_limit: Score = Field(default=Score(), description="Bland-Altman: bias - 1.96 SD of the differences")
    upper_limit: Score = Field(default=Score(), description="Bland-Altman: bias + 1.96 SD of the differences")
    icc: Score = Field(default=Score(), description="ICC(2,1), absolute agreement")
    auroc_below_50: Score = Field(default=Score(), description="how well it detects an ejection fraction below 50 %")
    auroc_below_40: Score = Field(default=Score(), description="how well it detects an ejection fraction below 40 %")


class VolumeScores(Config):
    """Agreement of a volume per study."""

    mae_ml: Score = Score()
    bias_ml: Score = Score()


class WallScores(Config):
    """Agreement of one wall dimension per study."""

    mae_mm: Score = Score()
    bias_mm: Score = Score()


class LvWallScores(Config):
    """The three dimensions of PLAX at end-diastole."""

    ivsd: WallScores = WallScores()
    lvidd: WallScores = WallScores()
    lvpwd: WallScores = WallScores()


class LvhScores(Config):
    """LV hypertrophy: a mass index above the limit of the patient's sex (ASE 2015)."""

    hypertrophied: int = Field(default=0, description="number of studies of the AUROC with true hypertrophy")
    mass_index_mae_g_per_m2: Score = Score()
    auroc: Score = Field(
        default=Score(), description="how well the written mass index, relative to that limit, detects hypertrophy"
    )


class SubgroupScores(Config):
    """Headline scores of patients who share a trait; with few patients they say little, see ``n`` and the intervals."""

    patients: int
    views: Score = Field(default=Score(), description="share of clips with the right view")
    lv_cavity_dice: Score = Score()
    lv_myocardium_dice: Score = Score()
    ejection_fraction_mae: Score = Score()
    ejection_fraction_bias: Score = Score()


class MetricsFile(Config):
    """The whole of ``metrics.json``."""

    metrics_version: Literal["1.1", "1.2", "1.3"] = Field(
        default=METRICS_VERSION,
        description="1.1 has no reliability of the views and no hypertrophy; 1.2 has no accuracy of the views and no "
        "count of studies with hypertrophy",
    )
    echoapex_version: str
    dataset: str
    split: str
    bundles: dict[str, str] = Field(
        default_factory=dict, description="bundle: sha256 of its weights, as in the reports"
    )
    studies: int
    studies_without_results: int
    clips: int
    views: ViewScores
    segmentation: SegmentationScores
    ejection_fraction: EjectionFractionScores
    ejection_fraction_discs: EjectionFractionScores
    volumes: dict[Literal["edv", "esv"], VolumeScores]
    lv_wall: LvWallScores
    lvh: LvhScores = LvhScores()
    subgroups: dict[str, dict[str, SubgroupScores]] = Field(
        default_factory=dict, description="trait (sex, age, image quality, vendor, frame rate): value: scores"
    )
    notes: tuple[str, ...] = Field(default=(), description="what is not scored in the data set, and why")


def score_statistic(
    statistic: Callable[..., float], *columns: Sequence[Any], patients: Sequence[str], missing: int = 0
) -> Score:
    """Score a statistic of the cases, with its interval; the value is None if it is not defined."""
    count = len(patients)
    if not count:
        return Score(missing=missing)
    arrays = [np.asarray(column) for column in columns]
    value = statistic(*arrays)
    try:
        low, high = bootstrap_interval(
            statistic, *arrays, groups=np.asarray(patients), samples=BOOTSTRAP_SAMPLES, seed=_BOOTSTRAP_SEED
        )
    except MetricError:  # undefined on most resamples: too few patients for an interval
        low = high = float("nan")
    finite = bool(np.isfinite([low, high]).all())
    return Score(
        value=float(value) if np.isfinite(value) else None,
        n=count,
        interval=(low, high) if finite else None,
        missing=missing,
    )


def score_mean(values: Sequence[float], patients: Sequence[str], missing: int = 0) -> Score:
    """Score the mean over cases, with its interval; ``patients`` names the patient of each case."""
    return score_statistic(_mean, values, patients=patients, missing=missing)


def score_values(statistic: Callable[..., float], cases: Sequence[ValueCase], quantity: Quantity) -> Score:
    """Score a statistic of true and written values of a quantity; values not written are counted as missing."""
    known = [case for case in cases if case.quantity is quantity]
    pairs = [(case.truth, case.measured, case.patient) for case in known if case.measured is not None]
    return score_statistic(
        statistic,
        [truth for truth, _, _ in pairs],
        [measured for _, measured, _ in pairs],
        patients=[patient for _, _, patient in pairs],
        missing=len(known) - len(pairs),
    )


def mean_error(truth: ArrayLike, measured: ArrayLike) -> float:
    """Mean error (bias): measured minus true."""
    return _mean(np.asarray(measured, dtype=float) - np.asarray(truth, dtype=float))


def score_subgroups(
    studies: Sequence[ReferenceStudy], cases: Cases, views_given: bool
) -> dict[str, dict[str, SubgroupScores]]:
    """Scores by trait and its value; traits that all patients share are left out."""
    names = sorted({name for study in studies for name in study.traits})
    found: dict[str, dict[str, SubgroupScores]] = {}
    for name in names:
        values = sorted({study.traits[name] for study in studies if name in study.traits})
        if len(values) > 1:
            found[name] = {value: _score(cases, _patients(studies, name, value), views_given) for value in values}
    return found


def _mean(values: ArrayLike) -> float:
    return float(np.mean(np.asarray(values, dtype=float)))


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


def _patients(studies: Sequence[ReferenceStudy], name: str, value: str) -> set[str]:
    return {study.patient for study in studies if study.traits.get(name) == value}
