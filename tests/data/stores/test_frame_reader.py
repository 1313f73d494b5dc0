"""Frames by number, from clips and from several readers at once."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_clips import DRAWN_VIEWS, draw_store
from drawn_studies import write_studies

from echoapex.curation.sample import choose_sample
from echoapex.curation.selection import Selection, write_selection
from echoapex.data.ingest.ingest import IngestPlan, ingest
from echoapex.data.ingest.plan import IngestRules
from echoapex.data.stores.frame_reader import (
    ClipStoreReader,
    FrameReader,
    FrameReaderError,
    JoinedReader,
    RepeatedReader,
    open_frame_store,
)
from echoapex.data.stores.frame_store import FrameStore
from echoapex.io.local_engine import LocalEngine
from echoapex.vocabulary import View


@pytest.fixture
def reader(tmp_path: Path) -> ClipStoreReader:
    stores = [draw_store(tmp_path / "a", clips=3, frames=4), draw_store(tmp_path / "b", clips=3, frames=2, first=3)]
    return ClipStoreReader(stores)


def test_frames_are_numbered_clip_by_clip(reader: ClipStoreReader, tmp_path: Path) -> None:
    assert isinstance(reader, FrameReader)
    assert len(reader) == 3 * 4 + 3 * 2
    assert reader.clip.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 2 + [4] * 2 + [5] * 2
    views = [list(View).index(DRAWN_VIEWS[patient % 2]) for patient in range(6)]
    assert reader.view.tolist() == [views[clip] for clip in reader.clip]
    shard = np.load(tmp_path / "b" / "shard-00000" / "frames.npy")
    last, first = reader.take([17, 12])
    np.testing.assert_array_equal(last, shard[2, 1])
    np.testing.assert_array_equal(first, shard[0, 0])


def test_joined_readers_keep_the_order_of_the_question(reader: ClipStoreReader) -> None:
    joined = JoinedReader([reader, reader])
    assert len(joined) == 36
    taken = joined.take([20, 3, 35, 3])
    for frame, expected in zip(taken, reader.take([2, 3, 17, 3]), strict=True):
        np.testing.assert_array_equal(frame, expected)


def test_a_repeated_reader_gives_the_same_frames_again(reader: ClipStoreReader) -> None:
    repeated = RepeatedReader(reader, 3)
    assert len(repeated) == 54
    for frame, expected in zip(repeated.take([17, 18, 53, 40]), reader.take([17, 0, 17, 4]), strict=True):
        np.testing.assert_array_equal(frame, expected)


def test_without_the_store_of_ingested_frames_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "echoapex.data.stores.frame_store", None)
    with pytest.raises(FrameReaderError, match=r"my\.lance: this installation cannot read .* task\.stores instead"):
        open_frame_store("my.lance")


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two patients, and one of which no patient is for training."""
    pytest.importorskip("lance", reason="Lance is not installed; it comes with the extra ingest")
    folder = tmp_path_factory.mktemp("ingested")
    write_studies(folder / "studies", [5, 6])
    for name, val_percent in (("full", 0.0), ("empty", 100.0)):
        rules = IngestRules(val_percent=val_percent)
        ingest(IngestPlan((folder / "studies",), folder / name, folder / f"{name}.key", rules), LocalEngine(1))
    return folder


def test_the_training_patients_of_an_ingested_store_are_read(ingested: Path) -> None:
    reader = open_frame_store(str(ingested / "full"))
    assert isinstance(reader, FrameReader) and len(reader) > 2
    first, second = reader.take([0, len(reader) - 1])
    assert first.shape == second.shape == (256, 256) and first.dtype == np.uint8 and first.any()


def test_an_unusable_store_is_named(ingested: Path) -> None:
    with pytest.raises(FrameReaderError, match="absent: cannot be opened"):
        open_frame_store(str(ingested / "absent"))
    with pytest.raises(FrameReaderError, match="empty: holds no frames of training patients"):
        open_frame_store(str(ingested / "empty"))


def test_a_curation_decides_how_often_frames_are_read(ingested: Path, tmp_path: Path) -> None:
    store = FrameStore(ingested / "full", split="train")
    digest = choose_sample(store, 1).store_sha256
    write_selection(tmp_path, Selection(np.array([1, 2]), np.array([2, 5], np.uint16), len(store), digest))
    reader = open_frame_store(str(ingested / "full"), tmp_path)
    assert len(reader) == 7
    first, second = store.take([1, 2])
    for place, expected in ((1, first), (2, second), (6, second)):
        np.testing.assert_array_equal(reader.take([place])[0], expected)
    with pytest.raises(FrameReaderError, match="absent: holds no selection of frames"):
        open_frame_store(str(ingested / "full"), tmp_path / "absent")
