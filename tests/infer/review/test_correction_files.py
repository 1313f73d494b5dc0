"""Corrections on disk come back as they were, and damage is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echoapex.domain.corrections import ClipCorrection
from echoapex.infer.review import correction_files
from echoapex.infer.review.correction_files import corrected_clips, read_correction, write_correction
from echoapex.infer.review.recomputation import ReviewError

MAPS = {frame: np.full((4, 6), frame, np.uint8) for frame in (1, 3, 5)}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "corrections" / "study"
    assert corrected_clips(folder) == ()
    correction = ClipCorrection(
        clip_id="c1", row_mm=0.3, column_mm=0.3, outlined={3: ("lv_cavity",), 1: ("lv_cavity",)}
    )
    write_correction(folder, correction, MAPS)
    found, maps = read_correction(folder, "c1")
    assert found == correction
    assert set(maps) == {1, 3}, "a map that the correction does not name is not kept"
    assert np.array_equal(maps[3], MAPS[3])
    assert corrected_clips(folder) == ("c1",)
    write_correction(folder, ClipCorrection(clip_id="c1", set_aside=True), {})
    assert read_correction(folder, "c1") == (ClipCorrection(clip_id="c1", set_aside=True), {})
    assert [path.name for path in folder.iterdir()] == ["c1.json"]


def test_the_correction_before_holds_until_the_new_one_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ClipCorrection(clip_id="c1", outlined={3: ("lv_cavity",)})
    write_correction(tmp_path, before, MAPS)

    def stop(path: Path, content: bytes) -> Path:
        raise OSError("no room")

    monkeypatch.setattr(correction_files, "write_bytes_atomically", stop)
    with pytest.raises(OSError, match="no room"):
        write_correction(tmp_path, ClipCorrection(clip_id="c1", outlined={5: ("lv_cavity",)}), MAPS)
    found, maps = read_correction(tmp_path, "c1")
    assert found == before
    assert np.array_equal(maps[3], MAPS[3])


def test_a_clip_that_nobody_corrected_has_an_empty_correction(tmp_path: Path) -> None:
    assert read_correction(tmp_path, "c2") == (ClipCorrection(clip_id="c2"), {})


def test_what_is_incomplete_or_damaged_is_told(tmp_path: Path) -> None:
    outlined = ClipCorrection(clip_id="c1", outlined={3: ("lv_cavity",), 9: ("lv_cavity",)})
    with pytest.raises(ReviewError, match="frame 9 was outlined, but has no label map"):
        write_correction(tmp_path, outlined, MAPS)
    assert corrected_clips(tmp_path) == ()
    with pytest.raises(ReviewError, match="give native pixels"):
        write_correction(tmp_path, outlined, MAPS | {9: np.zeros((2, 2), np.uint8)})
    write_correction(tmp_path, outlined, MAPS | {9: MAPS[1]})
    (tmp_path / "c1.npz").write_bytes(b"no archive")
    with pytest.raises(ReviewError, match="draw them anew"):
        read_correction(tmp_path, "c1")
    (tmp_path / "c1.json").write_text("{")
    with pytest.raises(ReviewError, match="correct the clip anew"):
        read_correction(tmp_path, "c1")
