"""Uncertainty of a metric: bootstrap intervals that resample patients instead of clips or frames.

Frames of one clip and clips of one patient are not independent cases. Give ``groups`` (the patient of each row) if a
patient occurs more than once; without it the interval is too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from echoapex.metrics.agreement import MetricError

Statistic = Callable[..., float]


def bootstrap_interval(
    statistic: Statistic,
    *arrays: ArrayLike,
    groups: ArrayLike | None = None,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval ``(low, high)`` of ``statistic(*arrays)``.

    Rows are drawn with replacement; with ``groups``, whole groups are drawn (cluster bootstrap). Resamples on which the
    statistic is not finite (for example with only one class) are left out. For a single group the interval is
    ``(nan, nan)``.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; Davison & Hinkley, Bootstrap Methods
    and their Application, 1997, section 3.8.

    Raises:
        MetricError: arrays or groups differ in length, are empty, or the statistic is undefined on most resamples.

    >>> import numpy as np
    >>> bootstrap_interval(np.mean, [4.0, 4.0, 4.0], samples=50)
    (4.0, 4.0)
    """
    columns = _aligned(arrays)
    members = _rows_of_groups(groups, len(columns[0]))
    if len(members) < 2:
        return float("nan"), float("nan")
    values = np.array(
        [statistic(*(c[rows] for c in columns)) for rows in _resamples(members, samples, seed)], dtype=float
    )
    return _percentile_interval(values, level)


@dataclass(frozen=True)
class PairedDifference:
    """Difference of one statistic between two methods on the same cases, with its interval.

    ``p_value`` is two-sided: twice the smaller fraction of resamples on either side of zero (never below
    ``1 / samples``).
    """

    difference: float
    low: float
    high: float
    p_value: float


def paired_bootstrap(
    statistic: Statistic,
    first: Sequence[ArrayLike],
    second: Sequence[ArrayLike],
    groups: ArrayLike | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> PairedDifference:
    """Compare two methods on the same cases: ``statistic(*second) - statistic(*first)``, both on the same resamples.

    ``first`` and ``second`` are the arguments of the statistic, e.g. ``(truth, method_a)`` and ``(truth, method_b)``.
    Source: Efron & Tibshirani, 1993, chapter 16.

    Raises:
        MetricError: the lengths differ, there are fewer than two groups, or the statistic is undefined on most
        resamples.

    >>> from echoapex.metrics.agreement import mean_absolute_error
    >>> truth = [10, 20, 30, 40]
    >>> better = paired_bootstrap(mean_absolute_error, (truth, [14, 24, 34, 44]), (truth, [11, 21, 31, 41]))
    >>> better.difference, better.high < 0
    (-3.0, True)
    """
    columns = _aligned((*first, *second))
    members = _rows_of_groups(groups, len(columns[0]))
    if len(members) < 2:
        raise MetricError("two methods cannot be compared on fewer than two independent cases; add patients")
    split = len(first)

    def difference(rows: NDArray[np.intp]) -> float:
        drawn = [column[rows] for column in columns]
        return float(statistic(*drawn[split:])) - float(statistic(*drawn[:split]))

    values = np.array([difference(rows) for rows in _resamples(members, samples, seed)])
    low, high = _percentile_interval(values, 0.95)
    finite = values[np.isfinite(values)]
    tail = min(float((finite <= 0).mean()), float((finite >= 0).mean()))
    p_value = min(1.0, max(2 * tail, 1 / samples))
    return PairedDifference(difference(np.arange(len(columns[0]))), low, high, p_value)


def exact_share_interval(right: int, cases: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval (Clopper-Pearson) of a proportion, for proportions near 0 or 1, where a bootstrap has no width.

    Args:
        right: number of cases that count.
        cases: number of all (independent) cases.
        level: confidence level.

    Raises:
        MetricError: there are no cases, or ``right`` is larger than ``cases``.

    Source: Clopper & Pearson, Biometrika 1934, doi 10.1093/biomet/26.4.404.

    >>> low, high = exact_share_interval(10, 10)
    >>> round(low, 3), high
    (0.692, 1.0)
    """
    if not 0 <= right <= cases or not cases:
        raise MetricError(f"{right} of {cases} is no share; give counts of at least one case")
    found = stats.binomtest(right, cases).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)


def _aligned(arrays: Sequence[ArrayLike]) -> list[NDArray[Any]]:
    columns = [np.asarray(array) for array in arrays]
    lengths = {column.shape[0] if column.ndim else 0 for column in columns}
    if len(lengths) != 1 or 0 in lengths:
        raise MetricError(
            f"a bootstrap needs arrays of one length with at least one case, got lengths {sorted(lengths)}"
        )
    return columns


def _rows_of_groups(groups: ArrayLike | None, rows: int) -> list[NDArray[np.intp]]:
    if groups is None:
        return [np.array([row]) for row in range(rows)]
    names = np.asarray(groups)
    if names.shape != (rows,):
        raise MetricError(f"groups have shape {names.shape}, the data {rows} rows; name one patient per row")
    _, index = np.unique(names, return_inverse=True)
    order = np.argsort(index, kind="stable")
    return np.split(order, np.cumsum(np.bincount(index))[:-1])


def _resamples(members: list[NDArray[np.intp]], samples: int, seed: int) -> Iterator[NDArray[np.intp]]:
    if samples < 1:
        raise MetricError(f"the number of bootstrap samples must be positive, got {samples}")
    generator = np.random.default_rng(seed)
    for _ in range(samples):
        drawn = generator.integers(len(members), size=len(members))
        yield np.concatenate([members[index] for index in drawn])


def _percentile_interval(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise MetricError(f"the level of an interval lies between 0 and 1, got {level}")
    finite = values[np.isfinite(values)]
    if finite.size * 2 < values.size:
        raise MetricError("the statistic is undefined on most resamples; there are too few cases for an interval")
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
