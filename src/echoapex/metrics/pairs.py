"""Paired inputs of a metric, checked once: same length, not empty, finite."""

from __future__ import annotations

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
