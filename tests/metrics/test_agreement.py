"""Agreement of numbers against scikit-learn, scipy and published worked examples."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as oracle

from echoapex.metrics import (
    MetricError,
    intraclass_correlation,
    limits_of_agreement,
    mean_absolute_error,
    pearson,
    r2,
    root_mean_square_error,
)

# Bland & Altman 1986, table 1: peak expiratory flow (L/min) by Wright meter and mini Wright meter, first readings.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI_WRIGHT = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


@given(st.integers(0, 2**32 - 1), st.integers(3, 50))
@settings(max_examples=40, deadline=None)
def test_errors_are_those_of_scikit_learn(seed: int, cases: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.uniform(10, 80, cases)
    measured = truth + generator.normal(0, 6, cases)
    assert mean_absolute_error(truth, measured) == pytest.approx(oracle.mean_absolute_error(truth, measured))
    expected = oracle.root_mean_squared_error(truth, measured)
    assert root_mean_square_error(truth, measured) == pytest.approx(expected)
    assert r2(truth, measured) == pytest.approx(oracle.r2_score(truth, measured))
    assert pearson(truth, measured) == pytest.approx(stats.pearsonr(truth, measured).statistic)


def test_bland_and_altmans_own_example() -> None:
    limits = limits_of_agreement(MINI_WRIGHT, WRIGHT)
    assert limits.bias == pytest.approx(-2.1, abs=0.05)
    assert limits.standard_deviation == pytest.approx(38.8, abs=0.05)
    # the paper rounds 1.96 to 2 and prints -79.7 and 75.5
    assert limits.lower == pytest.approx(-2.1 - 1.96 * 38.8, abs=0.1)
    assert limits.upper == pytest.approx(-2.1 + 1.96 * 38.8, abs=0.1)


def test_icc_falls_with_bias_where_correlation_does_not() -> None:
    truth = np.linspace(20, 70, 30)
    biased = truth + 12
    assert pearson(truth, biased) == pytest.approx(1)
    assert intraclass_correlation(np.column_stack([truth, truth])) == pytest.approx(1)
    assert intraclass_correlation(np.column_stack([truth, biased])) < 0.8


def test_undefined_values_are_nan_not_zero() -> None:
    assert math.isnan(r2([5, 5, 5], [4, 5, 6]))
    assert math.isnan(pearson([1, 2, 3], [7, 7, 7]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mean_absolute_error([], []), "at least one"),
        (lambda: r2([1, 2], [1, np.nan]), "NaN"),
        (lambda: limits_of_agreement([1], [1]), "two cases"),
        (lambda: intraclass_correlation([[1, 2]]), "at least two"),
    ],
)
def test_bad_input_is_refused_in_words(call, words: str) -> None:
    with pytest.raises(MetricError, match=words):
        call()
