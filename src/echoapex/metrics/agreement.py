"""How well measured numbers agree with reference numbers: error, explained variance, bias, correlation.

``truth`` and ``measured`` are flat arrays in one unit; errors come back in that unit. ``measured - truth`` is the sign
of every difference, so a positive bias means that the method reads high.

Paired inputs of a metric, checked once: same length, not empty, finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class MetricError(ValueError):
    """Inputs for which a metric is not defined; the message says what is wrong and what to do."""


def paired_numbers(truth: ArrayLike, measured: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two flat float arrays of one length, every value finite.

    Raises:
        MetricError: lengths differ, nothing was given, or a value is NaN or infinite. Values that a method failed to
            give must be dropped, and counted, by the caller: a metric never hides them.
    """
    first, second = np.asarray(truth, dtype=np.float64).ravel(), np.asarray(measured, dtype=np.float64).ravel()
    _require_pairs(first.size, second.size)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise MetricError(
            "a value is NaN or infinite; drop that case from both arrays and report how many were dropped"
        )
    return first, second


def paired_labels(truth: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Two flat label arrays (strings or integers) of one length.

    Raises:
        MetricError: lengths differ or nothing was given.
    """
    first, second = np.asarray(truth).ravel(), np.asarray(predicted).ravel()
    _require_pairs(first.size, second.size)
    return first, second


def paired_masks(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two boolean masks of one shape.

    Raises:
        MetricError: the shapes differ.
    """
    first, second = np.asarray(a).astype(bool), np.asarray(b).astype(bool)
    if first.shape != second.shape:
        raise MetricError(f"masks of {first.shape} and {second.shape} cannot be compared; map both to native pixels")
    return first, second


def _require_pairs(first: int, second: int) -> None:
    if first != second:
        raise MetricError(f"{first} true values but {second} measured ones; give one of each per case")
    if first == 0:
        raise MetricError("no cases were given; a metric needs at least one")


def mean_absolute_error(truth: ArrayLike, measured: ArrayLike) -> float:
    """Mean of the absolute differences.

    >>> mean_absolute_error([60, 40], [57, 41])
    2.0
    """
    reference, values = paired_numbers(truth, measured)
    return float(np.abs(values - reference).mean())


def root_mean_square_error(truth: ArrayLike, measured: ArrayLike) -> float:
    """Root of the mean squared difference.

    >>> root_mean_square_error([0, 0], [3, -3])
    3.0
    """
    reference, values = paired_numbers(truth, measured)
    return float(np.sqrt(np.square(values - reference).mean()))


def r2(truth: ArrayLike, measured: ArrayLike) -> float:
    """Coefficient of determination: 1 minus residual over total sum of squares.

    It is 0 for always saying the mean, negative for worse, and NaN when the truth does not vary.

    >>> r2([1, 2, 3], [1, 2, 3]), r2([1, 2, 3], [2, 2, 2])
    (1.0, 0.0)
    """
    reference, values = paired_numbers(truth, measured)
    total = float(np.square(reference - reference.mean()).sum())
    residual = float(np.square(values - reference).sum())
    return 1.0 - residual / total if total > 0 else float("nan")


def pearson(truth: ArrayLike, measured: ArrayLike) -> float:
    """Pearson's correlation; NaN when one side does not vary. Correlation is not agreement: read the bias beside it.

    >>> round(pearson([1, 2, 3], [11, 12, 13]), 6)
    1.0
    """
    reference, values = paired_numbers(truth, measured)
    reference, values = reference - reference.mean(), values - values.mean()
    scale = float(np.sqrt(np.square(reference).sum() * np.square(values).sum()))
    return float(np.clip((reference * values).sum() / scale, -1, 1)) if scale > 0 else float("nan")


@dataclass(frozen=True)
class LimitsOfAgreement:
    """Bland and Altman's bias and the range that holds 95 % of the differences, all in the unit of the values."""

    bias: float
    standard_deviation: float
    lower: float
    upper: float


def limits_of_agreement(truth: ArrayLike, measured: ArrayLike) -> LimitsOfAgreement:
    """Bias and 95 % limits of agreement, ``bias +/- 1.96 SD`` of the differences (n - 1).

    Source: Bland & Altman, Lancet 1986, doi 10.1016/S0140-6736(86)90837-8.

    Raises:
        MetricError: fewer than two cases.

    >>> limits_of_agreement([50, 60, 70], [51, 62, 73]).bias
    2.0
    """
    reference, values = paired_numbers(truth, measured)
    if reference.size < 2:
        raise MetricError("limits of agreement need at least two cases")
    difference = values - reference
    bias, deviation = float(difference.mean()), float(difference.std(ddof=1))
    return LimitsOfAgreement(bias, deviation, bias - 1.96 * deviation, bias + 1.96 * deviation)


def intraclass_correlation(ratings: ArrayLike) -> float:
    """Intraclass correlation for absolute agreement of single ratings, two-way random effects: ICC(2,1).

    ``ratings`` is ``(subjects, raters)``, complete; for a method against a reference the raters are those two. NaN when
    nothing varies. Source: Shrout & Fleiss, Psychol. Bull. 1979, doi 10.1037/0033-2909.86.2.420.

    Raises:
        MetricError: fewer than two subjects or raters, or a missing rating.

    >>> shrout_fleiss = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    >>> round(intraclass_correlation(shrout_fleiss), 2)
    0.29
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise MetricError("ratings must be complete, (subjects, raters), with at least two of each")
    subjects, raters = table.shape
    grand = table.mean()
    between_subjects = raters * np.square(table.mean(axis=1) - grand).sum() / (subjects - 1)
    between_raters = subjects * np.square(table.mean(axis=0) - grand).sum() / (raters - 1)
    residual = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + grand
    error = np.square(residual).sum() / ((subjects - 1) * (raters - 1))
    spread = between_subjects + (raters - 1) * error + raters * (between_raters - error) / subjects
    return float((between_subjects - error) / spread) if spread > 0 else float("nan")
