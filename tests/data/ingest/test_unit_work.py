"""What a worker reports: the rows of frames, and a record of every file whatever happened to it."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_studies import draw_fan_clip, write_fan_clip
from stored_rows import frame_rows
from synthetic_dicom import write_native

from echoapex.data.ingest import unit_work
from echoapex.data.ingest.plan import ArchiveKey, IngestRules, SourceFile, find_sources, plan_units
from echoapex.data.ingest.unit_work import IngestJob, UnitReport, ingest_unit, pixel_digest
from echoapex.data.stores.frame_store_writer import StoreIdentity, StoreWriter
from echoapex.data.stores.place import StoreError, StorePlace
from echoapex.io.still_image import decode_frame

KEY = ArchiveKey(bytes(range(32)))


def work(archive: Path, store: Path) -> UnitReport:
    files = [item for item in find_sources([archive], KEY, "digest") if isinstance(item, SourceFile)]
    (unit,) = plan_units(files)
    writer = StoreWriter(StorePlace(store), StoreIdentity({}, ""))
    report = ingest_unit(IngestJob(IngestRules(size=64), KEY.secret, str(store)), unit)
    writer.commit(report.fragments, report.records)
    return report


def test_a_row_holds_the_frame_and_its_way_home(tmp_path: Path) -> None:
    path = write_fan_clip(tmp_path / "in" / "c.dcm", draw_fan_clip(1, frames=3), 4)
    (record,) = work(tmp_path / "in", tmp_path / "store").records
    rows = frame_rows(tmp_path / "store")
    assert [row["frame"] for row in rows] == [0, 1, 2]
    assert [row["time_s"] for row in rows] == pytest.approx([0, 0.04, 0.08])
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert {row["clip"] for row in rows} == {KEY.digest("clip", sha256)} == {record["clip"]}
    matrix = np.array(rows[0]["transform"]).reshape(3, 3)
    assert rows[0]["row_mm"] == pytest.approx(0.9 / matrix[1, 1])
    assert (rows[0]["native_height"], rows[0]["native_width"]) == (128, 128)
    assert (rows[0]["content"], rows[0]["vendor"], rows[0]["probe"]) == ("b_mode", "echoapex", "")
    assert decode_frame(rows[0]["jpeg"]).shape == (64, 64)
    assert len({row["pixels"] for row in rows}) == len({row["dhash"] for row in rows}) == 3
    assert (record["frames_native"], record["frames_sampled"], record["frames_kept"]) == (3, 3, 3)
    assert record["row_mm"] == pytest.approx(0.9)


def test_what_a_file_does_not_say_stays_unknown(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_native(tmp_path / "in" / "c.dcm", draw_fan_clip(1), "MONOCHROME2", FrameTime=None)
    (record,) = work(tmp_path / "in", tmp_path / "store").records
    rows = frame_rows(tmp_path / "store")
    assert len(rows) == 6
    assert {(row["time_s"], row["row_mm"], row["column_mm"]) for row in rows} == {(None, None, None)}
    assert record["row_mm"] is None


def test_an_unexpected_error_says_only_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fan_clip(tmp_path / "in" / "c.dcm", draw_fan_clip(1, frames=1), 4)

    def stumble(*_: Any) -> None:
        raise KeyError("PHANTOM^0004")

    monkeypatch.setattr(unit_work, "read_clip_frames", stumble)
    report = work(tmp_path / "in", tmp_path / "store")
    assert report.fragments == ()
    assert report.records[0]["outcome"] == "rejected"
    assert "KeyError" in report.records[0]["reason"]
    assert "PHANTOM" not in repr(report)


def test_what_a_native_decoder_raises_costs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        """No Exception, as the panics of Rust."""

    write_fan_clip(tmp_path / "in" / "c.dcm", draw_fan_clip(1, frames=1), 4)

    def panic(*_: Any) -> None:
        raise Panic

    monkeypatch.setattr(unit_work, "read_clip_frames", panic)
    report = work(tmp_path / "in", tmp_path / "store")
    assert "Panic" in pickle.loads(pickle.dumps(report)).records[0]["reason"]


def test_a_store_that_cannot_be_written_is_no_fault_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fan_clip(tmp_path / "in" / "c.dcm", draw_fan_clip(1, frames=1), 4)

    def full(*_: Any) -> None:
        raise StoreError("no space")

    monkeypatch.setattr(unit_work, "write_fragments", full)
    with pytest.raises(StoreError, match="no space"):
        work(tmp_path / "in", tmp_path / "store")


def test_the_digest_of_pixels_is_blake2(tmp_path: Path) -> None:
    frame = draw_fan_clip(1, frames=1)[0]
    expected = int.from_bytes(hashlib.blake2b(frame.tobytes(), digest_size=8).digest(), "little", signed=True)
    assert pixel_digest(np.asfortranarray(frame)) == expected
    frame[5, 5] ^= 1
    assert pixel_digest(frame) != expected
