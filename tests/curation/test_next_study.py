"""The next study to correct: the unsure and the unusual come first, and not twice the same."""

from __future__ import annotations

import numpy as np
import pytest

from echoapex.curation.next_study import StudyDoubt, entropy_of, rank_next

NOTHING = np.zeros((0, 4))


def study(name: str, entropy: float = 0.0, overlap: float | None = 0.95, direction: int | None = None) -> StudyDoubt:
    features = NOTHING if direction is None else np.eye(4)[[direction]]
    return StudyDoubt(name, entropy, overlap, features)


def order(*studies: StudyDoubt, corrected: np.ndarray = NOTHING, count: int = 5) -> list[str]:
    return [one.study for one in rank_next(studies, corrected, count)]


def test_the_unsure_come_first() -> None:
    assert order(study("a"), study("b", entropy=0.9), study("c", overlap=0.4)) == ["b", "c", "a"]
    assert order(study("a"), study("b", entropy=0.9), count=1) == ["b"]


def test_what_is_unlike_the_corrected_comes_first() -> None:
    found = rank_next([study("like", direction=0), study("unlike", direction=1)], np.eye(4)[[0]])
    assert [one.study for one in found] == ["unlike", "like"]
    assert found[0].reason == "unlike what was corrected"
    assert (found[0].score, found[1].score) == (0.5, 0.0)


def test_the_second_is_unlike_the_first() -> None:
    twins = [study("x", entropy=0.9, direction=0), study("twin", entropy=0.85, direction=0)]
    assert order(*twins, study("other", entropy=0.3, direction=1), corrected=np.eye(4)[[3]]) == ["x", "other", "twin"]


def test_without_features_uncertainty_decides() -> None:
    assert order(study("a", overlap=0.9), study("b", overlap=None), study("c", overlap=0.2)) == ["c", "a", "b"]


def test_reasons_are_said_in_words() -> None:
    (found,) = rank_next([study("a", entropy=0.6, overlap=0.5)], NOTHING)
    assert found.reason == "the views are unclear, the outlines are unsure"
    (found,) = rank_next([study("a")], NOTHING)
    assert found.reason == "nothing stands out; any study helps"


def test_entropy_is_one_for_all_views_alike() -> None:
    assert entropy_of([1 / 18] * 18) == pytest.approx(1.0)
    assert entropy_of([1.0]) == 0.0
    assert 0.2 < entropy_of([0.9, 0.1, 0.0, 0.0]) < 0.3
