"""Formats told from first bytes."""

import gzip

import nibabel
import numpy as np
import pytest

from echoapex.io.file_format import FileFormat, is_text, recognise


def _nifti(kind: type) -> bytes:
    return bytes(kind(np.zeros((4, 4), np.uint8), np.eye(4)).to_bytes())


HEADS = {
    FileFormat.PNG: b"\x89PNG\r\n\x1a\n0000",
    FileFormat.JPEG: b"\xff\xd8\xff\xe0....",
    FileFormat.GIF: b"GIF89a....",
    FileFormat.AVI: b"RIFF\x10\x00\x00\x00AVI LIST",
    FileFormat.MP4: b"\x00\x00\x00\x18ftypisom",
    FileFormat.MATROSKA: b"\x1a\x45\xdf\xa3....",
    FileFormat.ZIP: b"PK\x03\x04....",
    FileFormat.META_IMAGE: b"ObjectType = Image\nNDims = 2\nElementDataFile = a.raw\n",
    FileFormat.NIFTI: _nifti(nibabel.Nifti1Image),
    FileFormat.NIFTI_GZ: gzip.compress(_nifti(nibabel.Nifti2Image), mtime=0),
    FileFormat.DICOM: bytes(128) + b"DICM",
}


@pytest.mark.parametrize("expected", HEADS)
def test_formats(expected: FileFormat) -> None:
    assert recognise(HEADS[expected]) is expected


@pytest.mark.parametrize(
    "head",
    [
        b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100\x08\x00",  # explicit little endian
        b"\x08\x00\x08\x00\x16\x00\x00\x00ORIGINAL\\PRIMARY\x08\x00",  # implicit little endian
        b"\x00\x08\x00\x05CS\x00\x0aISO_IR 100\x00\x08",  # explicit big endian
        b"\x02\x00\x00\x00UL\x04\x00\xba\x00\x00\x00\x02\x00\x01\x00OB",
    ],
)
def test_dicom_without_preamble(head: bytes) -> None:
    assert recognise(head) is FileFormat.DICOM


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x00",
        bytes(4096),
        b"hello world, this is text",
        b"RIFF\x10\x00\x00\x00WAVEfmt ",
        gzip.compress(b"x" * 99, mtime=0),
    ],
)
def test_what_is_nothing_known(head: bytes) -> None:
    assert recognise(head) is None


def test_random_bytes_are_nothing_known() -> None:
    rng = np.random.default_rng(0)
    assert not any(recognise(rng.bytes(512)) for _ in range(300))


def test_text() -> None:
    assert is_text("Größe öäü ß 心臓の超音波".encode())
    assert is_text("Gr\xf6\xdfe of the study\r\n".encode("latin-1") * 9)
    assert is_text("Größe\tof the study\r\n".encode() * 9)
    assert not is_text(b"abc\x00def")
    assert not is_text(b"")
    assert not is_text(bytes(range(128, 255)))
