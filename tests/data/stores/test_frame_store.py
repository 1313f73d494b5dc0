"""A store is read by row number, by column and by split, and from other processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from drawn_studies import write_studies
from stored_rows import frame_rows

from echoapex.data.ingest.ingest import IngestPlan, ingest
from echoapex.data.ingest.plan import IngestRules
from echoapex.data.stores.frame_store import FrameStore, Split
from echoapex.data.stores.place import StoreError
from echoapex.io.local_engine import InlineEngine
from echoapex.io.still_image import decode_frame

PATIENTS = range(1, 9)
RULES = IngestRules(size=48, val_percent=40)


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_studies(folder / "archive", PATIENTS, clips=1, frames=3)
    (folder / "a.key").write_text("ab" * 32)
    ingest(IngestPlan((folder / "archive",), folder / "store", folder / "a.key", RULES), InlineEngine())
    return folder / "store"


def test_frames_are_taken_in_the_order_asked_for(location: Path) -> None:
    store = FrameStore(location)
    rows = frame_rows(location)
    assert len(store) == len(rows) == 24
    assert store.size == 48
    taken = store.take([5, 0, 23, 5])
    assert all(frame.shape == (48, 48) and frame.dtype == np.uint8 for frame in taken)
    for frame, row in zip(taken, (5, 0, 23, 5), strict=True):
        assert np.array_equal(frame, decode_frame(rows[row]["jpeg"]))
    assert store.take([]) == []


def test_splits_are_apart_by_patient(location: Path) -> None:
    train, val = FrameStore(location, "train"), FrameStore(location, "val")
    assert len(train) + len(val) == 24
    assert min(len(train), len(val)) > 0
    patients = [set(store.columns("patient")["patient"]) for store in (train, val)]
    assert not patients[0] & patients[1]
    assert set(val.columns("split", rows=[0, 2])["split"]) == {"val"}
    rows = [row for row in frame_rows(location) if row["split"] == "val"]
    assert np.array_equal(val.take([2])[0], decode_frame(rows[2]["jpeg"]))


def test_columns_are_arrays(location: Path) -> None:
    found = FrameStore(location).columns("frame", "time_s", "transform", "row_mm", "clip")
    assert found["frame"][:4].tolist() == [0, 1, 2, 0]
    assert found["time_s"][:3] == pytest.approx([0, 0.04, 0.08])
    assert found["transform"].shape == (24, 9)
    assert np.array_equal(found["transform"][:, 8], np.ones(24))
    assert len(set(found["clip"])) == 8
    assert FrameStore(location).columns("frame", rows=[4])["frame"].tolist() == [1]
    files = FrameStore(location).files()
    assert set(files["outcome"]) == {"ingested"}
    assert FrameStore(location).manifest["frames"] == 24


@pytest.mark.parametrize("split", [None, "train", "val"])
def test_columns_are_read_in_runs(location: Path, split: Split | None) -> None:
    store = FrameStore(location, split)
    runs = list(store.scan("frame", "patient", "transform", run=5))
    assert len(runs) > 1
    whole = store.columns("frame", "patient", "transform")
    for name, expected in whole.items():
        assert np.array_equal(np.concatenate([run[name] for run in runs]), expected)


def test_mistakes_are_named(location: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="known: jpeg"):
        FrameStore(location).columns("name")
    for row in (-1, 24):
        with pytest.raises(StoreError, match="has 24 frames"):
            FrameStore(location).take([row])
    with pytest.raises(StoreError, match="echoapex ingest"):
        len(FrameStore(tmp_path))
    assert FrameStore(tmp_path).manifest == {}


def test_a_damaged_store_is_named(location: Path, tmp_path: Path) -> None:
    shutil.copytree(location, tmp_path / "store")
    for data in (tmp_path / "store").glob("*.lance/data/*.lance"):
        os.truncate(data, 1000)
    ways: tuple[Callable[[FrameStore], object], ...] = (
        lambda store: store.take([0]),
        lambda store: store.columns("clip"),
        lambda store: store.columns("clip", rows=[0]),
        lambda store: list(store.scan("clip")),
        lambda store: store.files(),
    )
    for read in ways:
        with pytest.raises(StoreError, match="cannot be read to its end"):
            read(FrameStore(tmp_path / "store"))
    with pytest.raises(StoreError, match="cannot be read to its end"):
        len(FrameStore(tmp_path / "store", "train"))


def test_a_store_travels_to_processes_that_were_not_forked(location: Path) -> None:
    store = FrameStore(location, "val")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        (there,) = pool.submit(store.take, [3]).result()
    assert np.array_equal(there, store.take([3])[0])
    assert len(pickle.loads(pickle.dumps(store))) == len(store)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_process_is_refused(location: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FrameStore(location)
    store.take([0])
    here = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: here + 1)
    with pytest.raises(StoreError, match="forkserver or spawn"):
        store.take([0])


def test_without_lance_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, location: Path) -> None:
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(StoreError, match=r"echoapex\[ingest\]"):
        len(FrameStore(location))
