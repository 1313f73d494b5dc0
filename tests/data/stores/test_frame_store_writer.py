"""Commits are all or nothing, whatever they are cut off by; equal frames go, the first stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest
from stored_rows import file_rows, frame_rows

from echoapex.data.ingest.unit_work import NOTHING_KNOWN
from echoapex.data.stores.frame_store_writer import StoreIdentity, StoreWriter, cannot_write, write_fragments
from echoapex.data.stores.place import STORAGE_VERSION, StoreError, StorePlace

IDENTITY = StoreIdentity({"size": 8, "stride": 1}, "check")


def frame(clip: str, number: int, pixels: int) -> dict[str, Any]:
    words = dict.fromkeys(("study", "patient", "split", "vendor", "probe", "content"), "x")
    return {
        **words,
        "clip": clip,
        "frame": number,
        "jpeg": b"j%d" % pixels,
        "pixels": pixels,
        "time_s": None,
        "row_mm": None,
        "column_mm": None,
        "transform": [float(value) for value in range(9)],
        "native_height": 8,
        "native_width": 8,
        "dhash": bytes(32),
    }


def record(file: str, outcome: str = "ingested", kept: int = 0) -> dict[str, Any]:
    named = {"file": file, "stamp": "s", "name": file, "outcome": outcome, "frames_kept": kept}
    return {**NOTHING_KNOWN, **named}


def open_writer(folder: Path, identity: StoreIdentity = IDENTITY) -> StoreWriter:
    return StoreWriter(StorePlace(folder), identity)


def commit(writer: StoreWriter, folder: Path, file: str, *pixels: int) -> None:
    rows = [frame(file, number, value) for number, value in enumerate(pixels)]
    writer.commit(write_fragments(StorePlace(folder), rows), [record(file, kept=len(rows))])


def stored(folder: Path) -> list[tuple[str, int]]:
    return [(row["clip"], row["pixels"]) for row in frame_rows(folder)]


def test_what_is_committed_is_there_and_in_order(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    commit(writer, tmp_path, "b", 1, 2)
    writer.commit((), [record("c", "set_aside")])
    commit(writer, tmp_path, "a", 3)
    assert stored(tmp_path) == [("b", 1), ("b", 2), ("a", 3)]
    again = open_writer(tmp_path)
    assert [row["file"] for row in again.records()] == ["b", "c", "a"]
    assert again.frame_count() == 3
    assert lance.dataset(str(tmp_path / "frames.lance")).data_storage_version == STORAGE_VERSION


def test_fragments_alone_are_not_part_of_the_store_and_are_cleared_away(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    commit(writer, tmp_path, "a", 1)
    write_fragments(StorePlace(tmp_path), [frame("lost", 0, 9)])
    assert stored(tmp_path) == [("a", 1)]
    assert len(list((tmp_path / "frames.lance" / "data").iterdir())) == 2
    writer.finish()
    assert len(list((tmp_path / "frames.lance" / "data").iterdir())) == 1


def test_a_record_whose_frames_never_came_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies between the two commits."""
    writer = open_writer(tmp_path)
    commit(writer, tmp_path, "a", 1)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(lance.LanceDataset, "commit", die)
        commit(writer, tmp_path, "b", 2, 3)
    assert [row["file"] for row in file_rows(tmp_path)] == ["a", "b"]
    again = open_writer(tmp_path)
    assert [row["file"] for row in again.records()] == ["a"]
    commit(again, tmp_path, "c", 4)
    assert [row["file"] for row in open_writer(tmp_path).records()] == ["a", "c"]
    assert stored(tmp_path) == [("a", 1), ("c", 4)]


def test_the_newest_record_of_a_file_counts(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.commit((), [record("b", "rejected"), record("a", "rejected")])
    commit(writer, tmp_path, "b", 1)
    assert {row["file"]: row["outcome"] for row in writer.records()} == {"a": "rejected", "b": "ingested"}
    writer.finish()
    assert [(row["file"], row["outcome"]) for row in file_rows(tmp_path)] == [("a", "rejected"), ("b", "ingested")]


def test_the_first_of_equal_frames_stays_however_often_it_is_finished(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    rng = np.random.default_rng(0)
    kept: dict[int, str] = {}
    for file in "abcdef":
        pixels = [int(value) for value in rng.integers(-9, 9, 7)]
        commit(writer, tmp_path, file, *pixels)
        for value in pixels:
            kept.setdefault(value, file)
    writer.finish()
    expected = [(file, value) for value, file in kept.items()]
    assert stored(tmp_path) == expected
    writer.finish()
    assert stored(tmp_path) == expected
    commit(open_writer(tmp_path), tmp_path, "g", expected[0][1])
    open_writer(tmp_path).finish()
    assert stored(tmp_path) == expected
    assert len(lance.dataset(str(tmp_path / "frames.lance")).get_fragments()) == 1
    assert "g" in [row["file"] for row in open_writer(tmp_path).records()]


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        (StoreIdentity({"size": 16, "stride": 1}, "check"), "size 8 instead of 16"),
        (StoreIdentity({"size": 8, "stride": 1}, "other"), "another key"),
    ],
)
def test_other_rules_and_other_keys_are_refused(tmp_path: Path, identity: StoreIdentity, message: str) -> None:
    open_writer(tmp_path)
    with pytest.raises(StoreError, match=message):
        open_writer(tmp_path, identity)


def test_two_writers_at_once_are_noticed(tmp_path: Path) -> None:
    first, second = open_writer(tmp_path), open_writer(tmp_path)
    commit(first, tmp_path, "a", 1)
    with pytest.raises(StoreError, match="another process"):
        commit(second, tmp_path, "b", 2)


def test_a_place_that_cannot_be_written_is_named() -> None:
    assert "no space left" in str(cannot_write(OSError(28, "No space left on device")))
    assert "no space left" in str(cannot_write(OSError("LanceError(IO): ... No space left on device (os error 28)")))
    assert "Permission denied" in str(cannot_write(OSError(13, "Permission denied")))
