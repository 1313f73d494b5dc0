"""Of every clip the middle frames of equal stretches are embedded, and every frame has one that represents it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from drawn_studies import write_studies

from echoapex.curation.sample import UNKNOWN, choose_sample
from echoapex.data.ingest.ingest import IngestPlan, ingest
from echoapex.data.ingest.plan import IngestRules
from echoapex.data.stores.frame_store import FrameStore
from echoapex.io.local_engine import InlineEngine


class Table:
    """A store of clips with so many frames each, in runs."""

    def __init__(self, clips: dict[str, int], order: np.ndarray | None = None, run: int = 4) -> None:
        self._clip = np.repeat(list(clips), list(clips.values())).astype(object)
        self._frame = np.concatenate([np.arange(count) for count in clips.values()])
        self._order = np.arange(len(self._clip)) if order is None else order
        self._run = run

    def scan(self, *names: str) -> Iterator[dict[str, np.ndarray]]:
        columns = {name: np.full(len(self._clip), "", object) for name in ("vendor", "probe", "content")}
        columns |= {"clip": self._clip, "patient": self._clip, "frame": self._frame}
        columns["pixels"] = np.arange(len(self._clip))
        for first in range(0, len(self._clip), self._run):
            rows = self._order[first : first + self._run]
            yield {name: columns[name][rows] for name in names}


def test_middle_frames_speak_for_equal_stretches() -> None:
    sample = choose_sample(Table({"a": 7, "b": 1, "c": 4}), 2)  # type: ignore[arg-type]
    assert sample.rows.tolist() == [2, 5, 7, 9, 11]
    assert sample.representative.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 3, 3, 4, 4]
    assert sample.stands_for.tolist() == [4, 3, 1, 2, 2]
    assert sample.about["clip"].codes.tolist() == [0, 0, 1, 2, 2]
    assert sample.about["clip"].words == ("a", "b", "c")
    assert sample.about["vendor"].words == (UNKNOWN,)


def test_a_clip_need_not_lie_in_one_piece() -> None:
    order = np.random.default_rng(0).permutation(12)
    table = Table({"a": 7, "b": 1, "c": 4}, order)
    sample = choose_sample(table, 3)  # type: ignore[arg-type]
    clip = np.concatenate([run["clip"] for run in table.scan("clip")])
    frame = np.concatenate([run["frame"] for run in table.scan("frame")])
    assert (clip[sample.rows[sample.representative]] == clip).all()
    for name, count in (("a", 3), ("b", 1), ("c", 3)):
        own = np.flatnonzero(clip == name)
        assert len(set(sample.representative[own])) == count
        in_time = sample.representative[own[np.argsort(frame[own])]]
        assert len(np.flatnonzero(np.diff(in_time))) == count - 1, "stretches do not interleave"


def test_the_digest_is_that_of_the_pixels_in_their_order() -> None:
    one, runs, other = (
        choose_sample(Table({"a": 9}, order, run), 1)  # type: ignore[arg-type]
        for order, run in ((None, 4), (None, 2), (np.arange(9)[::-1], 4))
    )
    assert one.store_sha256 == runs.store_sha256 != other.store_sha256


def test_a_store_is_sampled(tmp_path: Path) -> None:
    write_studies(tmp_path / "archive", range(1, 7), clips=1, frames=4)
    rules = IngestRules(size=48, val_percent=40)
    (tmp_path / "a.key").write_text("ab" * 32)  # a key of chance may put every patient into one split
    ingest(IngestPlan((tmp_path / "archive",), tmp_path / "store", tmp_path / "a.key", rules), InlineEngine())
    store = FrameStore(tmp_path / "store", "train")
    sample = choose_sample(store, 2)
    assert 0 < len(store) < 24
    assert len(sample.representative) == len(store) == sample.stands_for.sum()
    assert len(sample) == len(store) / 2
    assert store.columns("frame", rows=sample.rows.tolist())["frame"].tolist() == [1, 3] * (len(store) // 4)
    assert sample.about["content"].words == ("b_mode",)
    with pytest.raises(ValueError, match="no column"):
        list(store.scan("name"))
