"""Classification scores against scikit-learn, and on cases worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from echoapex.metrics import (
    MetricError,
    accuracy,
    auroc,
    balanced_accuracy,
    confusion_matrix,
    expected_calibration_error,
    macro_auroc,
    recall_per_class,
    reliability_bins,
    top_k_accuracy,
)
from echoapex.vocabulary import View

VIEWS = [view.value for view in View]
labelled = st.integers(1, 60).flatmap(
    lambda n: st.tuples(*[st.lists(st.sampled_from(VIEWS[:5]), min_size=n, max_size=n) for _ in range(2)])
)


@given(labelled)
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
def test_counts_and_accuracies_are_those_of_scikit_learn(pairs: tuple[list[str], list[str]]) -> None:
    truth, predicted = pairs
    assert balanced_accuracy(truth, predicted) == pytest.approx(oracle.balanced_accuracy_score(truth, predicted))
    assert accuracy(truth, predicted) == pytest.approx(oracle.accuracy_score(truth, predicted))
    expected = oracle.confusion_matrix(truth, predicted, labels=VIEWS)
    assert np.array_equal(confusion_matrix(truth, predicted, VIEWS), expected)


def test_recall_names_only_the_classes_that_occur() -> None:
    recall = recall_per_class([View.A4C, View.A4C, View.PLAX], [View.A4C, View.A2C, View.A2C])
    assert recall == {"A4C": 0.5, "PLAX": 0.0}


def test_balanced_accuracy_of_a_constant_answer_is_chance() -> None:
    truth = ["A4C"] * 97 + ["PLAX"] * 3
    assert accuracy(truth, ["A4C"] * 100) == 0.97
    assert balanced_accuracy(truth, ["A4C"] * 100) == 0.5


@given(st.integers(0, 2**32 - 1), st.integers(5, 80))
@settings(max_examples=40, deadline=None)
def test_auroc_is_that_of_scikit_learn_also_with_ties(seed: int, cases: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 2, cases)
    truth[:2] = (0, 1)
    score = generator.integers(0, 6, cases) / 5
    assert auroc(truth, score) == pytest.approx(oracle.roc_auc_score(truth, score))
    assert auroc(1 - truth, -score) == pytest.approx(auroc(truth, score))


def test_macro_auroc_and_top_k_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    scores = generator.dirichlet(np.ones(6), size=200)
    truth = np.array(VIEWS[:6])[[generator.choice(6, p=row) for row in scores]]
    order = sorted(VIEWS[:6])
    columns = scores[:, [VIEWS.index(name) for name in order]]
    expected = oracle.roc_auc_score(truth, columns, multi_class="ovr", labels=order)
    assert macro_auroc(truth, scores, VIEWS[:6]) == pytest.approx(expected)
    for k in (1, 2, 3):
        expected = oracle.top_k_accuracy_score(truth, columns, k=k, labels=order)
        assert top_k_accuracy(truth, scores, VIEWS[:6], k) == pytest.approx(expected)


def test_auroc_of_one_class_is_undefined_not_perfect() -> None:
    assert math.isnan(auroc([1, 1, 1], [0.2, 0.5, 0.9]))


def test_macro_auroc_leaves_out_a_class_that_never_occurs() -> None:
    scores = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.6, 0.1]]
    assert macro_auroc(["a", "b", "b"], scores, ["a", "b", "never"]) == 1.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: balanced_accuracy([], []), "at least one"),
        (lambda: balanced_accuracy(["a"], ["a", "b"]), "1 true values but 2"),
        (lambda: confusion_matrix(["a"], ["z"], ["a", "b"]), "labels z are not among"),
        (lambda: top_k_accuracy(["a"], [[0.5, 0.5]], ["a", "b"], 3), "k must lie"),
        (lambda: top_k_accuracy(["a"], [[0.5, 0.5, 0]], ["a", "b"], 1), "shape"),
        (lambda: auroc([0, 1], [0.1, math.nan]), "NaN"),
    ],
)
def test_bad_input_is_refused_in_words(call, words: str) -> None:
    with pytest.raises(MetricError, match=words):
        call()


def test_calibration_error_by_hand() -> None:
    # two bins: 0.25 with one of two right, 0.85 with three of four right
    correct, confidence = [1, 0, 1, 1, 1, 0], [0.25, 0.25, 0.85, 0.85, 0.85, 0.85]
    expected = (2 * abs(0.5 - 0.25) + 4 * abs(0.75 - 0.85)) / 6
    assert expected_calibration_error(correct, confidence) == pytest.approx(expected)
    assert expected_calibration_error([1, 1], [1.0, 1.0]) == 0


@pytest.mark.parametrize("confidence", [[-0.1], [1.2]])
def test_a_confidence_is_a_share(confidence: list[float]) -> None:
    with pytest.raises(MetricError, match="between 0 and 1"):
        expected_calibration_error([1], confidence)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=60))
@settings(max_examples=50, deadline=None)
def test_bins_of_reliability_sum_up_to_the_calibration_error(cases: list[tuple[bool, float]]) -> None:
    correct, confidence = [right for right, _ in cases], [sure for _, sure in cases]
    bins = reliability_bins(correct, confidence)
    assert sum(each.cases for each in bins) == len(cases)
    assert [each.confidence for each in bins] == sorted(each.confidence for each in bins)
    gap = sum(each.cases * abs(each.accuracy - each.confidence) for each in bins) / len(cases)
    assert gap == pytest.approx(expected_calibration_error(correct, confidence), abs=1e-9)


def test_a_confidence_that_is_none_has_no_bin() -> None:
    with pytest.raises(MetricError, match="between 0 and 1"):
        reliability_bins([1], [1.5])
