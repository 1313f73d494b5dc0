"""Agreement of measured with reference values: error, explained variance, bias, correlation.

``truth`` and ``measured`` are flat arrays in one unit, and errors are in the same unit. Differences are ``measured -
truth``, so a positive bias means that the method measures too high. The paired inputs of all metrics are checked here:
same length, not empty, finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class MetricError(ValueError):
    """A metric is not defined for its inputs; the message says what is wrong and what to do."""


def mean_absolute_error(truth: ArrayLike, measured: ArrayLike) -> float:
    """Mean absolute error (MAE).

    >>> mean_absolute_error([60, 40], [57, 41])
    2.0
    """
    reference, values = paired_numbers(truth, measured)
    return float(np.abs(values - reference).mean())


def root_mean_square_error(truth: ArrayLike, measured: ArrayLike) -> float:
    """Root mean square error (RMSE).

    >>> root_mean_square_error([0, 0], [3, -3])
    3.0
    """
    reference, values = paired_numbers(truth, measured)
    return float(np.sqrt(np.square(values - reference).mean()))


def r2(truth: ArrayLike, measured: ArrayLike) -> float:
    """Coefficient of determination: 1 minus the residual sum of squares divided by the total sum of squares.

    It is 0 for always predicting the mean, negative if worse than that, and NaN if the truth does not vary.

    >>> r2([1, 2, 3], [1, 2, 3]), r2([1, 2, 3], [2, 2, 2])
    (1.0, 0.0)
    """
    reference, values = paired_numbers(truth, measured)
    total = float(np.square(reference - reference.mean()).sum())
    residual = float(np.square(values - reference).sum())
    return 1.0 - residual / total if total > 0 else float("nan")


def pearson(truth: ArrayLike, measured: ArrayLike) -> float:
    """Pearson's correlation; NaN if one side does not vary. Correlation is not agreement: also look at the bias.

    >>> round(pearson([1, 2, 3], [11, 12, 13]), 6)
    1.0
    """
    reference, values = paired_numbers(truth, measured)
    reference, values = reference - reference.mean(), values - values.mean()
    scale = float(np.sqrt(np.square(reference).sum() * np.square(values).sum()))
    return float(np.clip((reference * values).sum() / scale, -1, 1)) if scale > 0 else float("nan")


@dataclass(frozen=True)
class LimitsOfAgreement:
    """Bias and 95 % limits of agreement (Bland and Altman), in the unit of the values."""

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

    ``ratings`` is ``(subjects, raters)`` without gaps; to compare a method with a reference, these are the two raters.
    NaN if nothing varies. Source: Shrout & Fleiss, Psychol. Bull. 1979, doi 10.1037/0033-2909.86.2.420.

    Raises:
        MetricError: there are fewer than two subjects or raters, or a rating is missing.

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


def paired_numbers(truth: ArrayLike, measured: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Check and return two flat float arrays of the same length with finite values.

    Raises:
        MetricError: the lengths differ, there are no values, or a value is NaN or infinite. The caller must drop
            and count the cases without a value: a metric never hides them.
    """
    first, second = np.asarray(truth, dtype=np.float64).ravel(), np.asarray(measured, dtype=np.float64).ravel()
    _require_pairs(first.size, second.size)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise MetricError(
            "a value is NaN or infinite; drop that case from both arrays and report how many were dropped"
        )
    return first, second


def paired_labels(truth: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Check and return two flat label arrays (strings or integers) of the same length.

    Raises:
        MetricError: the lengths differ, or there are no labels.
    """
    first, second = np.asarray(truth).ravel(), np.asarray(predicted).ravel()
    _require_pairs(first.size, second.size)
    return first, second


def paired_masks(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Check and return two boolean masks of the same shape.

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
