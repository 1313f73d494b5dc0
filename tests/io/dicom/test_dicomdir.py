"""DICOMDIRs: what they reference, what is missing, and what points elsewhere."""

from pathlib import Path

import pytest
from real_files import real_dicom
from synthetic_files import write_dicomdir

from echoapex.io.clip_source import ReadError, ReadLimits
from echoapex.io.dicom.dicomdir import referenced_files
from echoapex.io.file_format import is_dicomdir


def test_files_are_found_also_in_lower_case(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "im0001").write_bytes(b"x")
    (tmp_path / "TOP").write_bytes(b"x")
    path = write_dicomdir(tmp_path, ["IMAGES", "IM0001"], "TOP")

    found = referenced_files(path, "DICOMDIR", ReadLimits())

    assert found == [tmp_path / "images" / "im0001", tmp_path / "TOP"]
    assert is_dicomdir("renamed", path.read_bytes()[:1024])


def test_a_missing_file_is_reported_by_number_not_by_name(tmp_path: Path) -> None:
    path = write_dicomdir(tmp_path, ["QUARTZ", "A1"])

    (error,) = referenced_files(path, "DICOMDIR", ReadLimits())

    assert isinstance(error, ReadError)
    assert "missing" in error.reason
    assert "QUARTZ" not in str(error)


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("file_id", [["..", "SECRET"], "/ETC/PASSWD", ["A", "..", "..", "B"]])
def test_a_reference_out_of_the_folder_is_refused(tmp_path: Path, file_id: list[str] | str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "SECRET").write_bytes(b"x")

    (error,) = referenced_files(write_dicomdir(inner, file_id), "DICOMDIR", ReadLimits())

    assert isinstance(error, ReadError)
    assert "outside" in error.reason


def test_damaged_and_huge_ones_are_refused(tmp_path: Path) -> None:
    path = write_dicomdir(tmp_path, ["A"])
    with pytest.raises(ReadError, match="larger than any"):
        referenced_files(path, "DICOMDIR", ReadLimits(max_header_bytes=100))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ReadError, match=r"^DICOMDIR: "):
        referenced_files(path, "DICOMDIR", ReadLimits())


def test_a_real_dicomdir() -> None:
    path = real_dicom("dicomdirtests/DICOMDIR")

    found = referenced_files(path, "DICOMDIR", ReadLimits())

    assert len(found) == 31
    assert all(isinstance(each, Path) and each.is_file() for each in found)
