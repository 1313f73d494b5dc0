"""Headers that are damaged, hostile or no DICOM at all: one error each, in bounded time and memory."""

from __future__ import annotations

import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid
from synthetic_dicom import PATIENT, moving_frames, region, write_native

from echoapex.io.clip_source import ReadError, ReadLimits, load_clip
from echoapex.io.dicom.header import DicomFile
from echoapex.io.dicom.reader import open_dicom

GREY = moving_frames(3, colours=1)
LIMITS = ReadLimits()


def parse(path: Path, limits: ReadLimits = LIMITS) -> DicomFile:
    return DicomFile(path, "a.dcm", limits)


def refused(path: Path, limits: ReadLimits = LIMITS) -> str:
    """The reason of the refusal; fails when it takes much memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ReadError) as caught:
        parse(path, limits)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # KiB
    return caught.value.reason


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """An explicit little-endian element; ``length`` lies about the value."""
    size = len(value) if length is None else length
    long = vr in (b"OB", b"OW", b"UN", b"SQ", b"UT")
    head = struct.pack("<HH2s", group, number, vr) + (struct.pack("<HL", 0, size) if long else struct.pack("<H", size))
    return head + value


def part_10(body: bytes, syntax: bytes = b"1.2.840.10008.1.2.1\0") -> bytes:
    return b"\0" * 128 + b"DICM" + element(2, 0x10, b"UI", syntax) + body


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"x", "no DICOM"),
        (b"\xff\xd8\xff\xe0 a JPEG called .dcm" * 20, "no DICOM"),
        (b"%PDF-1.7" + b" " * 500, "no DICOM"),
        (b"\0" * 5000, "no DICOM"),
        (b"\0" * 128 + b"DICM", "ends after its preamble"),
        (part_10(b""), "ends after its preamble|no image"),
        (part_10(element(8, 0x60, b"CS", b"US")), "no image"),
        (part_10(element(0x7FE0, 8, b"OF", b"\0" * 8)), "floating-point"),
    ],
)
def test_files_without_an_image(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    with pytest.raises(ReadError, match=reason):
        parse(path)


@pytest.mark.parametrize("claim", [0xFFFFFFFE, 0x7FFFFFFF, 100_000_000])
@pytest.mark.parametrize(("group", "number"), [(0x0028, 0x1201), (0x0009, 0x1001), (0x0018, 0x6011)])
def test_an_element_that_claims_gigabytes(claim: int, group: int, number: int, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(part_10(element(group, number, b"UN", b"\0" * 64, claim)))
    refused(path)


def test_a_header_of_endless_undefined_items(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    sequence = element(0x0018, 0x6011, b"SQ", b"", 0xFFFFFFFF)
    path.write_bytes(part_10((sequence + item) * 20_000))
    refused(path)


def test_a_header_longer_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    private = element(0x0009, 0x1001, b"SQ", b"", 0xFFFFFFFF)
    filler = struct.pack("<HHL", 0xFFFE, 0xE000, 8) + element(8, 0x60, b"CS", b"")
    path.write_bytes(part_10(private + filler * 4000))
    assert "larger than the limit" in refused(path, ReadLimits(max_header_bytes=20_000))


def test_a_deflated_bomb(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = element(0x0009, 0x1001, b"OB", b"", 64_000_000) + b"\0" * 64_000_000
    packed = packer.compress(zeros) + packer.flush()
    assert len(packed) < 100_000
    path.write_bytes(part_10(packed, b"1.2.840.10008.1.2.1.99"))
    assert "inflates to more" in refused(path, ReadLimits(max_inflated_bytes=8_000_000))


def test_a_deflated_file_that_ends_early(tmp_path: Path) -> None:
    path = write_native(tmp_path / "a.dcm", GREY, "MONOCHROME2", uid.DeflatedExplicitVRLittleEndian)
    path.write_bytes(path.read_bytes()[:-200])
    assert "ends early" in refused(path)


@pytest.mark.parametrize("cut", [0.02, 0.1, 0.3, 0.5])
def test_a_header_that_is_cut_off(cut: float, tmp_path: Path) -> None:
    path = write_native(tmp_path / "a.dcm", GREY[:, :8, :8], "MONOCHROME2")
    data = path.read_bytes()
    path.write_bytes(data[: int(cut * (len(data) - 3 * 64))])
    with pytest.raises(ReadError):
        open_dicom(path)


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_files_without_meta_information(syntax: str, tmp_path: Path) -> None:
    path = write_native(tmp_path / "a.dcm", GREY, "MONOCHROME2", syntax)
    data = path.read_bytes()
    meta_length = struct.unpack_from("<L", data, 140)[0]
    path.write_bytes(data[144 + meta_length :])
    assert parse(path).transfer_syntax == syntax
    assert np.array_equal(load_clip(open_dicom(path)).frames, GREY)


def test_identifiers_are_not_even_read(tmp_path: Path) -> None:
    path = write_native(tmp_path / "a.dcm", GREY, "MONOCHROME2")
    assert "PatientName" not in parse(path).dataset
    assert DicomFile(path, "a.dcm", LIMITS, keep_identifiers=True).dataset.PatientName == PATIENT


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bits_give_a_clip_or_one_clean_error(seed: int, tmp_path: Path) -> None:
    regions = [region((4, 4, 59, 43))]
    path = write_native(tmp_path / f"{PATIENT}.dcm", GREY, "MONOCHROME2", SequenceOfUltrasoundRegions=regions)
    rng = np.random.default_rng(seed)
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    where = rng.integers(0, 1500 if seed % 2 else len(data), size=[1, 4, 16][seed % 3])
    data[where] ^= (1 << rng.integers(0, 8, size=where.size)).astype(np.uint8)
    path.write_bytes(data.tobytes())
    try:
        source = open_dicom(path)
        count = sum(1 for _ in source.frames())
    except ReadError as error:
        assert "Quartz" not in str(error)
    else:
        assert count == source.header.frame_count
