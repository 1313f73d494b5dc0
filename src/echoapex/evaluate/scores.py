"""One metric of many cases: its value, its count and a 95 % interval that resamples patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from echoapex.evaluate.cases import ValueCase
from echoapex.evaluate.metrics_file import Score
from echoapex.metrics import MetricError, bootstrap_interval
from echoapex.vocabulary import Quantity

BOOTSTRAP_SAMPLES = 1000
_BOOTSTRAP_SEED = 0


def score_statistic(
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


def score_mean(values: Sequence[float], patients: Sequence[str], missing: int = 0) -> Score:
    """Mean over cases with its interval; ``patients`` names the patient of each case."""
    return score_statistic(_mean, values, patients=patients, missing=missing)


def score_values(statistic: Callable[..., float], cases: Sequence[ValueCase], quantity: Quantity) -> Score:
    """A statistic of true and written values of a quantity; what was not written is counted as missing."""
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
    """Mean of measured minus true."""
    return _mean(np.asarray(measured, dtype=float) - np.asarray(truth, dtype=float))


def _mean(values: ArrayLike) -> float:
    return float(np.mean(np.asarray(values, dtype=float)))
