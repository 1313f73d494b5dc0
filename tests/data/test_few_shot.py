"""A few clips: whole patients, balanced over views, decided by the seed."""

from collections import Counter

import numpy as np
import pytest
from drawn_clips import draw_store
from pydantic import ValidationError

from echoapex.data.stores.clip_store import ChosenClips, ClipStore, FewShot, choose_clips


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[ClipStore]:
    folder = tmp_path_factory.mktemp("stores")
    return [draw_store(folder / "a", clips=9, size=32), draw_store(folder / "b", clips=6, size=32, first=100)]


class TwoClipsEach:
    """Patients with two views each, as in CAMUS."""

    def __init__(self) -> None:
        self.truth = {"patient": np.repeat(np.arange(8), 2), "view": np.tile([0, 1], 8)}

    def __len__(self) -> int:
        return 16


def patients(chosen: list) -> list[int]:
    return [int(patient) for part in chosen for patient in part.truth["patient"]]


def test_as_many_as_asked_for_and_views_in_balance(stores: list[ClipStore]) -> None:
    chosen = choose_clips(stores, FewShot(clips=6))
    assert sum(map(len, chosen)) == 6
    assert Counter(int(view) for part in chosen for view in part.truth["view"]) == {0: 3, 4: 3}


def test_the_seed_decides(stores: list[ClipStore]) -> None:
    first, again, other = (patients(choose_clips(stores, FewShot(clips=4, seed=seed))) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_more_is_the_same_and_more(stores: list[ClipStore]) -> None:
    few, many = (set(patients(choose_clips(stores, FewShot(clips=count)))) for count in (3, 9))
    assert few < many


def test_patients_are_whole() -> None:
    (chosen,) = choose_clips([TwoClipsEach()], FewShot(clips=5))
    assert len(chosen) == 6
    assert set(Counter(patients([chosen])).values()) == {2}


def test_a_share_is_rounded_up_and_all_is_all(stores: list[ClipStore]) -> None:
    assert sum(map(len, choose_clips(stores, FewShot(percent=1)))) == 1
    assert sum(map(len, choose_clips(stores, FewShot(percent=30)))) == 5
    assert sum(map(len, choose_clips(stores, FewShot(percent=100)))) == 15
    assert sum(map(len, choose_clips(stores, FewShot(clips=99)))) == 15


def test_chosen_clips_are_those_of_the_store(stores: list[ClipStore]) -> None:
    chosen = ChosenClips(stores[0], [4, 7])
    assert np.array_equal(chosen.frames(1), stores[0].frames(7))
    assert np.array_equal(chosen.labels(0), stores[0].labels(4))
    assert chosen.truth["patient"].tolist() == stores[0].truth["patient"][[4, 7]].tolist()


def test_it_is_one_of_two() -> None:
    for values in ({}, {"clips": 3, "percent": 5}):
        with pytest.raises(ValidationError, match="either clips or percent"):
            FewShot(**values)
