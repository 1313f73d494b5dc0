"""Bootstrap intervals: width, coverage, grouping and repeatability."""

import math

import numpy as np
import pytest

from echoapex.metrics import MetricError, bootstrap_interval, mean_absolute_error, paired_bootstrap


def test_interval_of_a_mean_has_the_width_of_its_standard_error() -> None:
    values = np.random.default_rng(1).normal(50, 8, 200)
    low, high = bootstrap_interval(np.mean, values, samples=2000)
    half = 1.96 * values.std(ddof=1) / math.sqrt(values.size)
    assert low == pytest.approx(values.mean() - half, abs=0.2 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.2 * half)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    hits = 0
    for trial in range(120):
        low, high = bootstrap_interval(np.mean, generator.normal(0, 1, 40), samples=300, seed=trial)
        hits += low <= 0 <= high
    assert 0.86 <= hits / 120 <= 1.0


def test_repeated_clips_of_a_patient_do_not_narrow_the_interval() -> None:
    patients = np.random.default_rng(3).normal(0, 5, 25)
    clips, names = np.repeat(patients, 20), np.repeat(np.arange(25), 20)
    naive = np.ptp(bootstrap_interval(np.mean, clips))
    grouped = np.ptp(bootstrap_interval(np.mean, clips, groups=names))
    per_patient = np.ptp(bootstrap_interval(np.mean, patients))
    assert grouped == pytest.approx(per_patient, rel=0.15)
    assert naive < 0.5 * grouped


def test_groups_may_be_names_in_any_order() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    shuffled = np.array([4, 0, 5, 1, 3, 2])
    names = np.array(["p1", "p1", "p2", "p2", "p3", "p3"])
    here = bootstrap_interval(np.mean, values, groups=names)
    assert here == pytest.approx(bootstrap_interval(np.mean, values[shuffled], groups=names[shuffled]))


def test_same_seed_same_interval() -> None:
    truth, measured = np.arange(30.0), np.arange(30.0) + np.random.default_rng(4).normal(0, 3, 30)
    first = bootstrap_interval(mean_absolute_error, truth, measured, seed=5)
    assert first == bootstrap_interval(mean_absolute_error, truth, measured, seed=5)
    assert first != bootstrap_interval(mean_absolute_error, truth, measured, seed=6)


def test_one_patient_has_no_interval() -> None:
    low, high = bootstrap_interval(np.mean, [1.0, 2.0, 3.0], groups=["p", "p", "p"])
    assert math.isnan(low)
    assert math.isnan(high)


def test_paired_bootstrap_sees_a_difference_that_separate_intervals_hide() -> None:
    generator = np.random.default_rng(6)
    truth = generator.uniform(20, 70, 80)
    shared_error = np.abs(generator.normal(0, 6, 80)) + 2
    worse, better = truth + shared_error, truth + shared_error - 1
    result = paired_bootstrap(mean_absolute_error, (truth, worse), (truth, better))
    assert result.difference == pytest.approx(-1)
    assert result.high < 0
    assert result.p_value <= 0.01
    overlap = bootstrap_interval(mean_absolute_error, truth, better)[1]
    assert overlap > bootstrap_interval(mean_absolute_error, truth, worse)[0]


def test_paired_bootstrap_of_equal_methods_is_not_significant() -> None:
    generator = np.random.default_rng(7)
    truth = generator.uniform(20, 70, 60)
    first, second = (truth + generator.normal(0, 5, 60) for _ in range(2))
    result = paired_bootstrap(mean_absolute_error, (truth, first), (truth, second))
    assert result.low < 0 < result.high
    assert result.p_value > 0.05


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bootstrap_interval(np.mean, []), "at least one case"),
        (lambda: bootstrap_interval(mean_absolute_error, [1, 2], [1]), "lengths"),
        (lambda: bootstrap_interval(np.mean, [1, 2], groups=["p"]), "one patient per row"),
        (lambda: bootstrap_interval(lambda _: math.nan, [1, 2]), "undefined"),
        (lambda: bootstrap_interval(np.mean, [1, 2], samples=0), "positive"),
        (lambda: bootstrap_interval(np.mean, [1, 2], level=95), "between 0 and 1"),
        (lambda: paired_bootstrap(np.mean, ([1.0],), ([2.0],)), "fewer than two"),
    ],
)
def test_bad_input_is_refused_in_words(call, words: str) -> None:
    with pytest.raises(MetricError, match=words):
        call()
