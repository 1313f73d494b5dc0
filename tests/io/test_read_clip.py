"""One clip into memory, by its content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic_dicom import PATIENT, moving_frames, write_native

from echoapex.io.clip_source import ReadError
from echoapex.io.study_files import read_clip

GREY = moving_frames(3, colours=1)


def test_a_dicom_file_or_the_folder_that_holds_it(tmp_path: Path) -> None:
    path = write_native(tmp_path / "a.dcm", GREY, "MONOCHROME2")
    assert np.array_equal(read_clip(path).frames, GREY)
    assert np.array_equal(read_clip(str(tmp_path)).frames, GREY)


def test_several_clips_are_refused(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        write_native(tmp_path / name, GREY[: 1 + len(list(tmp_path.iterdir()))], "MONOCHROME2")
    with pytest.raises(ReadError, match="holds 2 clips"):
        read_clip(tmp_path)


def test_nothing_readable_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"")
    with pytest.raises(ReadError, match="empty"):
        read_clip(tmp_path / "a.dcm")
    with pytest.raises(ReadError):
        read_clip(tmp_path / "missing.dcm")


def test_identifiers_only_when_asked_for(tmp_path: Path) -> None:
    path = write_native(tmp_path / "a.dcm", GREY, "MONOCHROME2")
    assert PATIENT not in repr(read_clip(path).header)
    assert read_clip(path, keep_identifiers=True).header.source["PatientName"] == PATIENT
