"""From cases to ``metrics.json``: each metric with its count and a 95 % interval that resamples patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from echoapex.evaluate.cases import NO_VIEW, Cases, MaskCase, ValueCase, ViewCase, collect_cases
from echoapex.evaluate.metrics_file import (
    Confusion,
    EjectionFractionScores,
    LvWallScores,
    MetricsFile,
    Score,
    SegmentationScores,
    StructureScores,
    ViewScores,
    VolumeScores,
    WallScores,
)
from echoapex.evaluate.predictions import Results, match_studies
from echoapex.evaluate.reference import ReferenceSet
from echoapex.metrics import (
    MetricError,
    balanced_accuracy,
    bootstrap_interval,
    confusion_matrix,
    mean_absolute_error,
    r2,
    root_mean_square_error,
)
from echoapex.version import __version__
from echoapex.vocabulary import Probe, Quantity, Structure, View

BOOTSTRAP_SAMPLES = 1000
_BOOTSTRAP_SEED = 0


def score_predictions(
    reference: ReferenceSet,
    predictions: Sequence[Results],
    *,
    baseline_views: Score | None = None,
    views_given: bool = False,
) -> tuple[MetricsFile, Cases]:
    """Score written results against a reference.

    Every clip and every study of the reference counts: a view that was not written is wrong, a mask that was not
    written has Dice 0, and a value that was not written is counted as ``missing`` beside the error of the others.

    Args:
        reference: the truth.
        predictions: what was written.
        baseline_views: balanced accuracy of the pixel baseline on the same clips, when it was fitted.
        views_given: the analysis was told the true views, so that they are no answer to score.

    Returns:
        The content of ``metrics.json``, and the cases it was computed from.

    Raises:
        PredictionError: results that cannot be attributed or read.
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
        clips=len(cases.views),
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
    )
    return metrics, cases


def score_views(cases: Sequence[ViewCase], baseline: Score | None = None) -> ViewScores:
    """Balanced accuracy over the views that occur, recall of each, and the confusion matrix."""
    if not cases:
        return ViewScores()
    rows = tuple(view for view in View if any(case.truth is view for case in cases))
    columns = (*(view.value for view in View), NO_VIEW)
    counts = confusion_matrix([case.truth.value for case in cases], [case.predicted for case in cases], columns)
    kept = [columns.index(view.value) for view in rows]
    return ViewScores(
        balanced_accuracy=score_balanced_accuracy(cases),
        balanced_accuracy_transthoracic=score_balanced_accuracy(
            [case for case in cases if case.truth.probe is Probe.TTE]
        ),
        recall={view: score_balanced_accuracy([case for case in cases if case.truth is view]) for view in rows},
        confusion=Confusion(rows=rows, columns=columns, counts=tuple(tuple(map(int, counts[row])) for row in kept)),
        baseline_pixels=baseline or Score(),
    )


def score_balanced_accuracy(cases: Sequence[ViewCase]) -> Score:
    """Mean recall over the views that occur in ``cases``."""
    return _score(
        balanced_accuracy,
        [case.truth.value for case in cases],
        [case.predicted for case in cases],
        patients=[case.patient for case in cases],
        missing=sum(case.predicted == NO_VIEW for case in cases),
    )


def _score_structure(cases: Sequence[MaskCase], structure: Structure) -> StructureScores:
    chosen = [case for case in cases if case.structure is structure]
    views = [view for view in View if any(case.view is view for case in chosen)]
    return StructureScores(
        dice=_score_dice(chosen),
        by_view={view: _score_dice([case for case in chosen if case.view is view]) for view in views},
    )


def _score_dice(cases: Sequence[MaskCase]) -> Score:
    return score_mean(
        [case.dice for case in cases],
        [case.patient for case in cases],
        missing=sum(case.missing for case in cases),
    )


def score_mean(values: Sequence[float], patients: Sequence[str], missing: int = 0) -> Score:
    """Mean over cases with its interval; ``patients`` names the patient of each case."""
    return _score(_mean, values, patients=patients, missing=missing)


def _score_ejection_fraction(
    cases: Sequence[ValueCase], quantity: Quantity, reference: ReferenceSet
) -> EjectionFractionScores:
    is_main = quantity is Quantity.LVEF
    return EjectionFractionScores(
        method=reference.ejection_fraction_method if is_main else quantity,
        reference=reference.ejection_fraction_source if is_main else reference.discs_source,
        mae=_score_values(mean_absolute_error, cases, quantity),
        rmse=_score_values(root_mean_square_error, cases, quantity),
        r2=_score_values(r2, cases, quantity),
        bias=_score_values(_bias, cases, quantity),
    )


def _score_volume(cases: Sequence[ValueCase], quantity: Quantity) -> VolumeScores:
    return VolumeScores(
        mae_ml=_score_values(mean_absolute_error, cases, quantity), bias_ml=_score_values(_bias, cases, quantity)
    )


def _score_wall(cases: Sequence[ValueCase], quantity: Quantity) -> WallScores:
    return WallScores(
        mae_mm=_score_values(mean_absolute_error, cases, quantity), bias_mm=_score_values(_bias, cases, quantity)
    )


def _score_values(statistic: Callable[..., float], cases: Sequence[ValueCase], quantity: Quantity) -> Score:
    known = [case for case in cases if case.quantity is quantity]
    pairs = [(case.truth, case.measured, case.patient) for case in known if case.measured is not None]
    return _score(
        statistic,
        [truth for truth, _, _ in pairs],
        [measured for _, measured, _ in pairs],
        patients=[patient for _, _, patient in pairs],
        missing=len(known) - len(pairs),
    )


def _mean(values: ArrayLike) -> float:
    return float(np.mean(np.asarray(values, dtype=float)))


def _bias(truth: ArrayLike, measured: ArrayLike) -> float:
    return _mean(np.asarray(measured, dtype=float) - np.asarray(truth, dtype=float))


def _score(
    statistic: Callable[..., float], *columns: Sequence[Any], patients: Sequence[str], missing: int = 0
) -> Score:
    """The statistic of the cases with its interval; None where it is not defined."""
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
