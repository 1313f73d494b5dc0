"""Headers that contradict themselves or exceed the limits are refused before anything is allocated."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import uid
from synthetic_dicom import build_dataset, moving_frames, save, write_compressed, write_native

from echoapex.io.clip_source import ReadError, ReadLimits
from echoapex.io.dicom.codecs import read_layout, syntax_name
from echoapex.io.dicom.header import DicomFile

RGB = moving_frames(2)


def layout_error(path: Path) -> str:
    with pytest.raises(ReadError) as caught:
        read_layout(DicomFile(path, "a.dcm", ReadLimits()))
    return caught.value.reason


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Rows": 65_535, "Columns": 65_535}, "max_frame_pixels|more than the limit"),
        ({"NumberOfFrames": 2_000_000}, "more than the limit"),
        ({"NumberOfFrames": 0}, "no frame"),
        ({"NumberOfFrames": -4}, "no frame"),
        ({"Rows": 0}, "64 x 0 pixels"),
        ({"Rows": None}, "64 x 0 pixels"),
        ({"PhotometricInterpretation": "HSV"}, "photometric"),
        ({"PhotometricInterpretation": None}, "photometric"),
        ({"SamplesPerPixel": 1}, "samples a pixel"),
        ({"SamplesPerPixel": 4}, "samples a pixel"),
        ({"BitsAllocated": 32}, "bits a sample"),
        ({"BitsAllocated": 1, "BitsStored": 1}, "bits a sample"),
        ({"BitsStored": 12}, "bits a sample"),
        ({"PlanarConfiguration": 7}, "planar"),
    ],
)
def test_contradictions(elements: dict[str, object], reason: str, tmp_path: Path) -> None:
    found = layout_error(write_native(tmp_path / "a.dcm", RGB, "RGB", **elements))
    assert any(part in found for part in reason.split("|"))


def test_a_missing_frame_count_means_one(tmp_path: Path) -> None:
    file = DicomFile(write_native(tmp_path / "a.dcm", RGB, "RGB", NumberOfFrames=None), "a.dcm", ReadLimits())
    assert read_layout(file).frame_count == 1


def with_syntax(path: Path, syntax: str) -> Path:
    """A compressed file that names a syntax which pydicom would not write; of the same length as the one replaced."""
    write_compressed(path, RGB, "RGB", uid.MPEG2MPML, [b"abcd"] * 2)
    assert len(syntax) == len(uid.MPEG2MPML)
    path.write_bytes(path.read_bytes().replace(uid.MPEG2MPML.encode(), syntax.encode()))
    return path


@pytest.mark.parametrize("number", [110, 111, 112])
def test_jpeg_xl_is_named(number: int, tmp_path: Path) -> None:
    path = with_syntax(tmp_path / "a.dcm", f"1.2.840.10008.1.2.4.{number}")
    assert "JPEG XL" in layout_error(path)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.1.98"])
def test_other_syntaxes_are_named(syntax: str, tmp_path: Path) -> None:
    path = write_compressed(tmp_path / "a.dcm", RGB, "RGB", syntax, [b"ab"] * 2)
    assert syntax_name(uid.UID(syntax)) in layout_error(path)


def test_an_unregistered_syntax_is_not_quoted(tmp_path: Path) -> None:
    path = with_syntax(tmp_path / "a.dcm", "1.2.3.4.5.6.7.8.9.77123")
    assert "77123" not in layout_error(path)


def test_encapsulated_pixels_of_a_native_syntax(tmp_path: Path) -> None:
    path = write_compressed(tmp_path / "a.dcm", RGB, "RGB", uid.JPEGBaseline8Bit, [b"ab"] * 2)
    data = path.read_bytes().replace(b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.1\0\0\0")
    path.write_bytes(data)
    assert "against its transfer syntax" in layout_error(path)


def test_shared_chroma_needs_an_even_width(tmp_path: Path) -> None:
    dataset = build_dataset(RGB, "YBR_FULL_422", Columns=63)
    dataset.PixelData = bytes(2 * 48 * 63 * 2)
    dataset["PixelData"].VR = "OB"
    assert "odd width" in layout_error(save(tmp_path / "a.dcm", dataset))
