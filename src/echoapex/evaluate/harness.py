"""Compute ``metrics.json`` from cases: each metric with its count and a 95 % interval that resamples patients.

The headline scores are those that a summary shows, and by which sets of weights are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echoapex.evaluate.cases import NO_VIEW, Cases, MaskCase, ValueCase, ViewCase, collect_cases
from echoapex.evaluate.metrics_file import (
    Confusion,
    EjectionFractionScores,
    LvhScores,
    LvWallScores,
    MetricsFile,
    Reliability,
    Score,
    SegmentationScores,
    StructureScores,
    ViewScores,
    VolumeScores,
    WallScores,
    mean_error,
    score_mean,
    score_statistic,
    score_subgroups,
    score_values,
)
from echoapex.evaluate.reference import ReferenceSet, Results, match_studies
from echoapex.measure import read_reference_limits
from echoapex.metrics import (
    accuracy,
    auroc,
    balanced_accuracy,
    confusion_matrix,
    expected_calibration_error,
    intraclass_correlation,
    limits_of_agreement,
    macro_auroc,
    mean_absolute_error,
    r2,
    reliability_bins,
    root_mean_square_error,
)
from echoapex.version import __version__
from echoapex.vocabulary import Application, Probe, Quantity, Structure, View


def score_predictions(
    reference: ReferenceSet,
    predictions: Sequence[Results],
    *,
    baseline_views: Score | None = None,
    views_given: bool = False,
) -> tuple[MetricsFile, Cases]:
    """Score written results against a reference.

    Every clip and every study of the reference counts: a view that was not written is wrong; a mask that was not
    written has Dice 0; a value that was not written is counted as ``missing``.

    Args:
        reference: the truth.
        predictions: the written results.
        baseline_views: balanced accuracy of the pixel baseline on the same clips, if it was fitted.
        views_given: whether the true views were given to the analysis, so that views cannot be scored.

    Returns:
        The content of ``metrics.json``, and the cases from which it was computed.

    Raises:
        PredictionError: results cannot be read, or cannot be assigned to a study.
    """
    matched = match_studies(reference.studies, predictions)
    cases = collect_cases(reference, matched)
    metrics = MetricsFile(
        echoapex_version=__version__,
        dataset=reference.dataset,
        split=reference.split,
        bundles={k: v for study in matched for results in study.results for k, v in results.report.bundles.items()},
        studies=len(matched),
        studies_without_results=sum(not study.results for study in matched),
        clips=sum(len(study.clips) for study in reference.studies),
        views=ViewScores(given=True) if views_given else score_views(cases.views, baseline_views),
        segmentation=SegmentationScores(
            **{structure.key: _score_structure(cases.masks, structure) for structure in Structure}
        ),
        ejection_fraction=_score_ejection_fraction(cases.values, Quantity.LVEF, reference),
        ejection_fraction_discs=_score_ejection_fraction(cases.values, Quantity.LVEF_DISCS, reference),
        volumes={"edv": _score_volume(cases.values, Quantity.EDV), "esv": _score_volume(cases.values, Quantity.ESV)},
        lv_wall=LvWallScores(
            ivsd=_score_wall(cases.values, Quantity.IVSD),
            lvidd=_score_wall(cases.values, Quantity.LVIDD),
            lvpwd=_score_wall(cases.values, Quantity.LVPWD),
        ),
        lvh=_score_hypertrophy(reference, cases.values),
        subgroups=score_subgroups(reference.studies, cases, views_given),
        notes=reference.notes,
    )
    return metrics, cases


def score_views(cases: Sequence[ViewCase], baseline: Score | None = None) -> ViewScores:
    """Score the views: balanced accuracy over the views that occur, recall of each, and the confusion matrix."""
    if not cases:
        return ViewScores()
    rows = tuple(view for view in View if any(case.truth is view for case in cases))
    columns = (*(view.value for view in View), NO_VIEW)
    counts = confusion_matrix([case.truth.value for case in cases], [case.predicted for case in cases], columns)
    kept = [columns.index(view.value) for view in rows]
    return ViewScores(
        accuracy=score_statistic(
            accuracy, *_true_and_called(cases), patients=[case.patient for case in cases], missing=_without_view(cases)
        ),
        balanced_accuracy=score_balanced_accuracy(cases),
        balanced_accuracy_transthoracic=score_balanced_accuracy(
            [case for case in cases if case.truth.probe is Probe.TTE]
        ),
        recall={view: score_balanced_accuracy([case for case in cases if case.truth is view]) for view in rows},
        macro_auroc=_score_probabilities(_macro_auroc, cases),
        expected_calibration_error=_score_probabilities(_calibration_error, cases),
        reliability=_reliability(cases),
        confusion=Confusion(rows=rows, columns=columns, counts=tuple(tuple(map(int, counts[row])) for row in kept)),
        baseline_pixels=baseline or Score(),
    )


def score_balanced_accuracy(cases: Sequence[ViewCase]) -> Score:
    """Mean recall over the views that occur in ``cases``."""
    return score_statistic(
        balanced_accuracy,
        *_true_and_called(cases),
        patients=[case.patient for case in cases],
        missing=_without_view(cases),
    )


class Headline(NamedTuple):
    """One headline score: name with unit, application, and number of decimals."""

    name: str
    application: Application
    score: Score
    digits: int


def headlines(metrics: MetricsFile) -> Iterator[Headline]:
    """All headline scores in a fixed order, including empty ones."""
    views, fractions = metrics.views, metrics.ejection_fraction
    walls, discs = metrics.lv_wall, metrics.ejection_fraction_discs
    yield Headline("view, balanced accuracy", Application.VIEW_CLASSIFICATION, views.balanced_accuracy, 3)
    yield Headline("view, pixel baseline", Application.VIEW_CLASSIFICATION, views.baseline_pixels, 3)
    yield Headline("view, calibration error", Application.VIEW_CLASSIFICATION, views.expected_calibration_error, 3)
    for structure in Structure:
        scores, title = metrics.segmentation.of(structure), structure.display_name
        yield Headline(f"Dice, {title}", Application.SEGMENTATION, scores.dice, 3)
        yield Headline(f"HD95, {title} (mm)", Application.SEGMENTATION, scores.hd95_mm, 1)
    yield Headline("EF, MAE (points)", Application.EJECTION_FRACTION, fractions.mae, 2)
    yield Headline("EF, RMSE (points)", Application.EJECTION_FRACTION, fractions.rmse, 2)
    yield Headline("EF, R2", Application.EJECTION_FRACTION, fractions.r2, 3)
    yield Headline("EF, ICC", Application.EJECTION_FRACTION, fractions.icc, 3)
    # discs are computed from outlines
    yield Headline("EF by discs, MAE (points)", Application.SEGMENTATION, discs.mae, 2)
    yield Headline("IVSd, MAE (mm)", Application.LV_WALL, walls.ivsd.mae_mm, 2)
    yield Headline("LVIDd, MAE (mm)", Application.LV_WALL, walls.lvidd.mae_mm, 2)
    yield Headline("LVPWd, MAE (mm)", Application.LV_WALL, walls.lvpwd.mae_mm, 2)
    yield Headline("LV hypertrophy, AUROC", Application.LV_WALL, metrics.lvh.auroc, 3)


def _score_structure(cases: Sequence[MaskCase], structure: Structure) -> StructureScores:
    chosen = [case for case in cases if case.structure is structure]
    views = [view for view in View if any(case.view is view for case in chosen)]
    return StructureScores(
        dice=_score_dice(chosen),
        iou=score_mean(
            [case.iou for case in chosen],
            [case.patient for case in chosen],
            missing=sum(case.missing for case in chosen),
        ),
        hd95_mm=_score_distances(chosen, lambda case: case.hd95_mm),
        surface_mm=_score_distances(chosen, lambda case: case.surface_mm),
        by_view={view: _score_dice([case for case in chosen if case.view is view]) for view in views},
    )


def _score_dice(cases: Sequence[MaskCase]) -> Score:
    return score_mean(
        [case.dice for case in cases],
        [case.patient for case in cases],
        missing=sum(case.missing for case in cases),
    )


def _score_distances(cases: Sequence[MaskCase], distance: Callable[[MaskCase], float | None]) -> Score:
    """Mean distance over the cases that have one."""
    known = [(value, case.patient) for case in cases if (value := distance(case)) is not None]
    return score_mean([value for value, _ in known], [patient for _, patient in known], len(cases) - len(known))


def _score_ejection_fraction(
    cases: Sequence[ValueCase], quantity: Quantity, reference: ReferenceSet
) -> EjectionFractionScores:
    is_main = quantity is Quantity.LVEF
    return EjectionFractionScores(
        method=reference.ejection_fraction_method if is_main else quantity,
        reference=reference.ejection_fraction_source if is_main else reference.discs_source,
        mae=score_values(mean_absolute_error, cases, quantity),
        rmse=score_values(root_mean_square_error, cases, quantity),
        r2=score_values(r2, cases, quantity),
        bias=score_values(mean_error, cases, quantity),
        lower_limit=score_values(lambda t, m: _limits(t, m)[0], cases, quantity),
        upper_limit=score_values(lambda t, m: _limits(t, m)[1], cases, quantity),
        icc=score_values(_icc, cases, quantity),
        auroc_below_50=score_values(lambda t, m: _auroc_below(t, m, 50.0), cases, quantity),
        auroc_below_40=score_values(lambda t, m: _auroc_below(t, m, 40.0), cases, quantity),
    )


def _limits(truth: ArrayLike, measured: ArrayLike) -> tuple[float, float]:
    """Bland-Altman limits; not defined for one patient."""
    if np.size(truth) < 2:
        return float("nan"), float("nan")
    limits = limits_of_agreement(truth, measured)
    return limits.lower, limits.upper


def _icc(truth: ArrayLike, measured: ArrayLike) -> float:
    """Intraclass correlation; not defined for one patient."""
    if np.size(truth) < 2:
        return float("nan")
    return intraclass_correlation(np.column_stack([np.asarray(truth, float), np.asarray(measured, float)]))


def _auroc_below(truth: ArrayLike, measured: ArrayLike, limit: float) -> float:
    """ROC area: how well a low measured value detects patients who are truly below a limit."""
    return auroc(np.asarray(truth, float) < limit, -np.asarray(measured, float))


def _score_volume(cases: Sequence[ValueCase], quantity: Quantity) -> VolumeScores:
    return VolumeScores(
        mae_ml=score_values(mean_absolute_error, cases, quantity), bias_ml=score_values(mean_error, cases, quantity)
    )


def _score_wall(cases: Sequence[ValueCase], quantity: Quantity) -> WallScores:
    return WallScores(
        mae_mm=score_values(mean_absolute_error, cases, quantity), bias_mm=score_values(mean_error, cases, quantity)
    )


def _score_hypertrophy(reference: ReferenceSet, cases: Sequence[ValueCase]) -> LvhScores:
    """Score LV hypertrophy; only patients of known sex have a limit."""
    limits, index = read_reference_limits(), Quantity.LV_MASS_INDEX
    upper = {study.patient: limits.upper_mass_index(study.traits.get("sex")) for study in reference.studies}
    over_limit = [
        replace(
            case,
            truth=limits.rounded(index, case.truth) / limit,
            measured=None if case.measured is None else case.measured / limit,
        )
        for case in cases
        if case.quantity is index and (limit := upper[case.patient]) is not None
    ]
    return LvhScores(
        hypertrophied=sum(case.truth > 1 for case in over_limit if case.measured is not None),
        mass_index_mae_g_per_m2=score_values(mean_absolute_error, cases, index),
        auroc=score_values(lambda truth, measured: auroc(np.asarray(truth, float) > 1, measured), over_limit, index),
    )


def _true_and_called(cases: Sequence[ViewCase]) -> tuple[list[str], list[str]]:
    return [case.truth.value for case in cases], [case.predicted for case in cases]


def _without_view(cases: Sequence[ViewCase]) -> int:
    return sum(case.predicted == NO_VIEW for case in cases)


def _score_probabilities(statistic: Callable[[ArrayLike, ArrayLike], float], cases: Sequence[ViewCase]) -> Score:
    """Score a statistic of true views ``(cases,)`` and written probabilities ``(cases, views)``."""
    known = [case for case in cases if case.probabilities]
    return score_statistic(
        statistic,
        [case.truth.value for case in known],
        [[case.probabilities.get(view, 0.0) for view in View] for case in known],
        patients=[case.patient for case in known],
        missing=len(cases) - len(known),
    )


def _macro_auroc(truth: ArrayLike, table: ArrayLike) -> float:
    return macro_auroc(truth, table, [view.value for view in View])


def _calibration_error(truth: ArrayLike, table: ArrayLike) -> float:
    return expected_calibration_error(*_most_probable(truth, table))


def _most_probable(truth: ArrayLike, table: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether the most probable view is the true one, and its probability."""
    probabilities = np.asarray(table, dtype=float)
    best = probabilities.argmax(axis=1)
    correct = np.array([view.value for view in View])[best] == np.asarray(truth)
    return correct, np.clip(probabilities.max(axis=1), 0, 1)


def _reliability(cases: Sequence[ViewCase]) -> tuple[Reliability, ...]:
    known = [case for case in cases if case.probabilities]
    if not known:
        return ()
    table = [[case.probabilities.get(view, 0.0) for view in View] for case in known]
    bins = reliability_bins(*_most_probable([case.truth.value for case in known], table))
    return tuple(Reliability(cases=b.cases, confidence=b.confidence, accuracy=b.accuracy) for b in bins)
