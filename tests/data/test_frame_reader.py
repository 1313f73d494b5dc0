"""Frames by number, from clips and from several readers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from drawn_clips import DRAWN_VIEWS, draw_store

from echoapex.data.frame_reader import ClipStoreReader, FrameReader, FrameReaderError, JoinedReader, open_frame_store
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


def test_without_the_store_of_ingested_frames_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "echoapex.data.store", None)
    with pytest.raises(FrameReaderError, match=r"my\.lance: this installation cannot read .* task\.stores instead"):
        open_frame_store("my.lance")


def test_a_store_of_ingested_frames_is_opened_and_an_unusable_one_named(
    monkeypatch: pytest.MonkeyPatch, reader: ClipStoreReader
) -> None:
    def opened(location: str) -> object:
        if location == "absent":
            raise OSError("no such file")
        return reader if location == "full" else []

    monkeypatch.setitem(sys.modules, "echoapex.data.store", SimpleNamespace(FrameStore=opened))
    assert open_frame_store("full") is reader
    with pytest.raises(FrameReaderError, match="absent: cannot be opened"):
        open_frame_store("absent")
    with pytest.raises(FrameReaderError, match="empty: holds no frames"):
        open_frame_store("empty")
