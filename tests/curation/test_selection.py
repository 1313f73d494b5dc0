"""A selection is written, read, checked against its store, and read by as often as it says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from drawn_studies import write_studies

from echoapex.curation.sample import choose_sample
from echoapex.curation.selection import (
    SELECTION_FILE,
    CuratedReader,
    Selection,
    SelectionError,
    count_visits,
    open_curated,
    read_selection,
    write_selection,
)
from echoapex.data.ingest.ingest import IngestPlan, ingest
from echoapex.data.ingest.plan import IngestRules
from echoapex.data.stores.frame_reader import EVEN_VISITS, FrameReader
from echoapex.data.stores.frame_store import FrameStore
from echoapex.io.local_engine import InlineEngine

RULES = IngestRules(size=48, val_percent=0)


def ingest_patients(folder: Path, patients: range) -> FrameStore:
    write_studies(folder / "archive", patients, clips=1, frames=3)
    ingest(IngestPlan((folder / "archive",), folder / "store", folder / "a.key", RULES), InlineEngine())
    return FrameStore(folder / "store", "train")


@pytest.fixture
def store(tmp_path: Path) -> FrameStore:
    return ingest_patients(tmp_path, range(1, 4))


def selection_of(store: FrameStore, visits: dict[int, int]) -> Selection:
    rows, counts = np.array(list(visits)), np.array(list(visits.values()), np.uint16)
    return Selection(rows, counts, len(store), choose_sample(store, 1).store_sha256)


def test_frames_stand_as_often_as_they_are_visited(store: FrameStore, tmp_path: Path) -> None:
    write_selection(tmp_path, selection_of(store, {0: 3, 4: 1, 8: 2}))
    reader = open_curated(store, tmp_path)
    assert isinstance(reader, FrameReader)
    assert len(reader) == 6
    originals = store.take([0, 0, 0, 4, 8, 8])
    for place in (5, 0, 3, 1):
        assert np.array_equal(reader.take([place])[0], originals[place])
    assert len(reader.take(range(6))) == 6


def test_weights_become_visits_to_within_one_and_neighbours_make_up_for_each_other() -> None:
    weights = np.concatenate([np.full(1000, 0.03), np.full(10, 4.0), np.zeros(5)])
    visits = count_visits(weights, seed=2)
    assert (abs(visits - weights * EVEN_VISITS) < 1).all()
    assert abs(visits[:1000].sum() - 0.03 * EVEN_VISITS * 1000) < 1
    assert visits[-5:].tolist() == [0] * 5
    assert Counter(visits[:1000].tolist()).keys() == {0, 1}
    assert np.array_equal(visits, count_visits(weights, seed=2))
    assert not np.array_equal(visits, count_visits(weights, seed=3))


def test_an_even_frame_is_visited_evenly() -> None:
    assert set(count_visits(np.ones(50), seed=0).tolist()) == {EVEN_VISITS}


def test_a_selection_comes_back_and_has_the_same_bytes(store: FrameStore, tmp_path: Path) -> None:
    written = selection_of(store, {1: 7, 5: 9})
    first, second = (write_selection(tmp_path / name, written).read_bytes() for name in ("a", "b"))
    assert first == second
    found = read_selection(tmp_path / "a")
    assert (found.rows.tolist(), found.visits.tolist(), found.frames) == ([1, 5], [7, 9], 9)
    assert found.shares()[[1, 5]] == pytest.approx([7 / 16, 9 / 16])
    assert found.shares().sum() == pytest.approx(1)


def test_a_store_that_changed_is_refused(store: FrameStore, tmp_path: Path) -> None:
    write_selection(tmp_path, selection_of(store, {0: 1}))
    assert isinstance(open_curated(store, tmp_path), CuratedReader)
    grown = ingest_patients(tmp_path, range(1, 5))
    with pytest.raises(SelectionError, match=r"made for other frames \(9, this store has 12\); curate the store"):
        open_curated(grown, tmp_path)


@pytest.mark.parametrize(
    ("rows", "visits", "frames"),
    [([3, 1], [1, 1], 9), ([0, 9], [1, 1], 9), ([0, 1], [1, 0], 9), ([], [], 9), ([-1, 2], [1, 1], 9)],
)
def test_nonsense_is_refused(rows: list[int], visits: list[int], frames: int, tmp_path: Path) -> None:
    write_selection(tmp_path, Selection(np.array(rows, np.int64), np.array(visits, np.uint16), frames, "0" * 64))
    with pytest.raises(SelectionError, match=r"selection\.safetensors: is damaged"):
        read_selection(tmp_path)


def test_damage_and_absence_are_told_apart(store: FrameStore, tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match="holds no selection of frames; make one with echoapex curate"):
        read_selection(tmp_path / "absent")
    path = write_selection(tmp_path, selection_of(store, {0: 1}))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(SelectionError, match="is damaged or no selection"):
        read_selection(tmp_path)
    (tmp_path / SELECTION_FILE).write_bytes(b"{}")
    with pytest.raises(SelectionError, match="is damaged or no selection"):
        read_selection(tmp_path)
