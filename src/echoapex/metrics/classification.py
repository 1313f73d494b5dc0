"""Classification metrics: confusion matrix, recall, balanced accuracy, top-k accuracy, ROC area, calibration.

Labels may be strings (``View`` values) or integers. Scores of several classes are ``(cases, classes)``; ``labels``
names the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from echoapex.metrics.agreement import MetricError, paired_labels, paired_numbers


def confusion_matrix(truth: ArrayLike, predicted: ArrayLike, labels: Sequence[Any]) -> NDArray[np.int64]:
    """Counts ``(classes, classes)``: rows are true classes, columns predicted ones, both in the order of ``labels``.

    Raises:
        MetricError: a label is not in ``labels``, or the lengths differ.

    >>> confusion_matrix(["A4C", "A4C", "PLAX"], ["A4C", "PLAX", "PLAX"], ["A4C", "PLAX"]).tolist()
    [[1, 1], [0, 1]]
    """
    true_labels, predicted_labels = paired_labels(truth, predicted)
    row_of = {label: row for row, label in enumerate(np.asarray(labels).tolist())}
    unknown = sorted(
        {str(value) for value in (*true_labels.tolist(), *predicted_labels.tolist()) if value not in row_of}
    )
    if unknown:
        raise MetricError(
            f"labels {', '.join(unknown)} are not among the {len(row_of)} classes given; add them to labels"
        )
    counts = np.zeros((len(row_of), len(row_of)), dtype=np.int64)
    rows = [row_of[value] for value in true_labels.tolist()]
    columns = [row_of[value] for value in predicted_labels.tolist()]
    np.add.at(counts, (rows, columns), 1)
    return counts


def accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Fraction of correctly classified cases.

    >>> accuracy(["a", "a", "a", "b"], ["a", "a", "a", "a"])
    0.75
    """
    true_labels, predicted_labels = paired_labels(truth, predicted)
    return float(np.mean(true_labels == predicted_labels))


def recall_per_class(truth: ArrayLike, predicted: ArrayLike) -> dict[Any, float]:
    """Recall (sensitivity) of each class that occurs in ``truth``.

    >>> recall_per_class(["a", "a", "b"], ["a", "b", "b"])
    {'a': 0.5, 'b': 1.0}
    """
    true_labels, predicted_labels = paired_labels(truth, predicted)
    right = true_labels == predicted_labels
    return {label.item(): float(right[true_labels == label].mean()) for label in np.unique(true_labels)}


def balanced_accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Mean recall over the classes that occur in ``truth``, so that rare classes count as much as frequent ones.

    Source: Brodersen et al., ICPR 2010, doi 10.1109/ICPR.2010.764.

    >>> balanced_accuracy(["a", "a", "a", "b"], ["a", "a", "a", "a"])
    0.5
    """
    return float(np.mean(list(recall_per_class(truth, predicted).values())))


def top_k_accuracy(truth: ArrayLike, scores: ArrayLike, labels: Sequence[Any], k: int) -> float:
    """Fraction of cases whose true class is among the ``k`` highest of ``scores`` ``(cases, classes)``.

    Equal scores rank in the order of ``labels``.

    Raises:
        MetricError: the shapes do not fit, or ``k`` is out of range.

    >>> top_k_accuracy(["a", "b"], [[0.5, 0.3, 0.2], [0.6, 0.1, 0.3]], ["a", "b", "c"], k=2)
    0.5
    """
    true_labels, table = _scored_cases(truth, scores, labels)
    if not 1 <= k <= len(labels):
        raise MetricError(f"k must lie between 1 and {len(labels)} classes, got {k}")
    best = np.asarray(labels)[np.argsort(-table, axis=1, kind="stable")[:, :k]]
    return float(np.mean((best == true_labels[:, None]).any(axis=1)))


def auroc(is_positive: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve: the probability that a positive case scores higher than a negative one (ties: half).

    NaN if only one class occurs, because the area is then not defined.
    Source: Hanley & McNeil, Radiology 1982, doi 10.1148/radiology.143.1.7063747 (the Mann-Whitney form).

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    truth, scores = paired_numbers(is_positive, score)
    positive = truth.astype(bool)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    rank_sum = float(rankdata(scores)[positive].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def macro_auroc(truth: ArrayLike, scores: ArrayLike, labels: Sequence[Any]) -> float:
    """Mean one-vs-rest ROC area over the classes; classes without both positive and negative cases are left out.

    >>> macro_auroc(["a", "b", "b"], [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], ["a", "b"])
    1.0
    """
    true_labels, table = _scored_cases(truth, scores, labels)
    areas = np.array([auroc(true_labels == label, table[:, column]) for column, label in enumerate(labels)])
    defined = areas[np.isfinite(areas)]
    return float(defined.mean()) if defined.size else float("nan")


def expected_calibration_error(is_correct: ArrayLike, confidence: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over equal-width bins, weighted by cases.

    Source: Guo et al., "On calibration of modern neural networks", 2017, equation 3. It needs some hundred
    cases; with few cases it is biased upwards.

    Raises:
        MetricError: there is no case, or a confidence lies outside 0 to 1.

    >>> expected_calibration_error([1, 1, 0, 0], [0.9, 0.9, 0.9, 0.9])
    0.4
    """
    correct, scores = paired_numbers(is_correct, confidence)
    if scores.min() < 0 or scores.max() > 1:
        raise MetricError("confidences must lie between 0 and 1")
    number = np.minimum((scores * bins).astype(int), bins - 1)
    gaps = [abs(correct[number == b].sum() - scores[number == b].sum()) for b in range(bins)]
    return float(round(sum(gaps) / scores.size, 12))


class ReliabilityBin(NamedTuple):
    """The cases with a confidence in one bin: their number, mean confidence and accuracy."""

    cases: int
    confidence: float
    accuracy: float


def reliability_bins(is_correct: ArrayLike, confidence: ArrayLike, bins: int = 10) -> list[ReliabilityBin]:
    """Mean confidence and accuracy in equal-width bins of confidence, for a reliability diagram.

    Empty bins are left out. The mean gap, weighted by the cases, is :func:`expected_calibration_error`.
    Source: Guo et al., "On calibration of modern neural networks", 2017, figure 1.

    Raises:
        MetricError: there is no case, or a confidence lies outside 0 to 1.

    >>> reliability_bins([1, 0, 1], [0.9, 0.9, 0.2])
    [ReliabilityBin(cases=1, confidence=0.2, accuracy=1.0), ReliabilityBin(cases=2, confidence=0.9, accuracy=0.5)]
    """
    correct, scores = paired_numbers(is_correct, confidence)
    if scores.min() < 0 or scores.max() > 1:
        raise MetricError("confidences must lie between 0 and 1")
    number = np.minimum((scores * bins).astype(int), bins - 1)
    return [
        ReliabilityBin(int(inside.sum()), float(scores[inside].mean()), float(correct[inside].mean()))
        for inside in (number == b for b in range(bins))
        if inside.any()
    ]


def _scored_cases(
    truth: ArrayLike, scores: ArrayLike, labels: Sequence[Any]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    true_labels, table = np.asarray(truth).ravel(), np.asarray(scores, dtype=np.float64)
    if true_labels.size == 0 or table.shape != (true_labels.size, len(labels)):
        raise MetricError(
            f"scores have shape {table.shape}; {true_labels.size} cases of {len(labels)} classes need "
            f"({true_labels.size}, {len(labels)})"
        )
    if not np.isfinite(table).all():
        raise MetricError("a score is NaN or infinite; drop that case and report how many were dropped")
    return true_labels, table
