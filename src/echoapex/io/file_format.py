"""A file that was found: where it is, its format by its first bytes, and the digest that identifies its content.

File names can be wrong, so they do not tell the format.
"""

from __future__ import annotations

import codecs
import hashlib
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from echoapex.io.clip_source import ReadError, clean_errors

HEAD_BYTES = 4096
"""Bytes of a file that are needed to recognise its format."""

_GZIP = b"\x1f\x8b"
_DICOM_VALUE_REPRESENTATION = re.compile(rb"[A-Z]{2}")
_ISO_MEDIA_BOXES = (b"ftyp", b"moov", b"mdat", b"wide")

CLIP_ID_DIGITS = 16
"""Hexadecimal digits of the file's digest in a clip ID; the caller of a reader may choose another ID."""

_MEDIA_DIRECTORY = b"1.2.840.10008.1.3.10"


@dataclass(frozen=True)
class FoundFile:
    """One file, on disk or in an archive.

    Attributes:
        path: the file, or the archive that holds it.
        member: name inside the archive; empty for a file on disk.
        parts: the path below the folder or archive that the user gave, part by part; it may identify a patient.
        size: bytes, uncompressed.
    """

    path: Path
    member: str
    parts: tuple[str, ...]
    size: int

    @property
    def name(self) -> str:
        """The bare file name."""
        return self.parts[-1]

    @property
    def key(self) -> tuple[str, str]:
        """Equal for the same file, even when it was reached in two ways."""
        return (str(self.path.resolve()), self.member)

    def read_head(self, count: int, display_name: str) -> bytes:
        """The first ``count`` bytes of a file on disk.

        Raises:
            ReadError: the file cannot be read.
        """
        with clean_errors(display_name, "cannot be read"), self.path.open("rb") as stream:
            return stream.read(count)


@dataclass(frozen=True)
class FoundFolder:
    """The files of one folder, sorted by name."""

    files: tuple[FoundFile, ...]

    def sibling(self, name: str) -> FoundFile | None:
        """The file of this name in the folder."""
        return next((file for file in self.files if file.name == name), None)


def file_on_disk(path: Path, parts: tuple[str, ...]) -> FoundFile:
    """A regular file on disk."""
    return FoundFile(path, "", parts, path.stat().st_size)


class FileFormat(StrEnum):
    """A recognised format; not every format holds clips."""

    DICOM = "dicom"
    AVI = "avi"
    MP4 = "mp4"
    MATROSKA = "matroska"
    GIF = "gif"
    PNG = "png"
    JPEG = "jpeg"
    NIFTI = "nifti"
    NIFTI_GZ = "nifti_gz"
    META_IMAGE = "meta_image"
    ZIP = "zip"


VIDEO_FORMATS = frozenset({FileFormat.AVI, FileFormat.MP4, FileFormat.MATROSKA, FileFormat.GIF})

IMAGE_FORMATS = frozenset({FileFormat.PNG, FileFormat.JPEG})

VOLUME_FORMATS = frozenset({FileFormat.NIFTI, FileFormat.NIFTI_GZ, FileFormat.META_IMAGE})

FORMAT_OF_SUFFIX: dict[str, FileFormat] = {
    ".dcm": FileFormat.DICOM,
    ".dicom": FileFormat.DICOM,
    ".avi": FileFormat.AVI,
    ".mp4": FileFormat.MP4,
    ".m4v": FileFormat.MP4,
    ".mov": FileFormat.MP4,
    ".mkv": FileFormat.MATROSKA,
    ".webm": FileFormat.MATROSKA,
    ".gif": FileFormat.GIF,
    ".png": FileFormat.PNG,
    ".jpg": FileFormat.JPEG,
    ".jpeg": FileFormat.JPEG,
    ".nii": FileFormat.NIFTI,
    ".nii.gz": FileFormat.NIFTI_GZ,
    ".mhd": FileFormat.META_IMAGE,
    ".mha": FileFormat.META_IMAGE,
    ".zip": FileFormat.ZIP,
}
"""The format that a suffix stands for; other suffixes have no meaning."""


def recognise(head: bytes) -> FileFormat | None:
    """The format of a file whose first ``HEAD_BYTES`` bytes are ``head``, or None."""
    for format_, matches in _SIGNATURES.items():
        if matches(head):
            return format_
    return None


def is_text(head: bytes) -> bool:
    """Whether a file that starts with ``head`` is plain text: UTF-8 or mostly ASCII, without control characters."""
    if not head or any(byte < 9 or 13 < byte < 32 for byte in head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character that is cut off at the end is not an error
    except UnicodeDecodeError:
        return sum(byte < 127 for byte in head) > 0.8 * len(head)
    return True


def is_dicomdir(name: str, head: bytes) -> bool:
    """Whether a DICOM file is a DICOMDIR, by its name or the SOP class in its first bytes."""
    return name.upper() == "DICOMDIR" or _MEDIA_DIRECTORY in head[132:1024]


def suffix_of(name: str) -> str:
    """The lower-case suffix of a file name, with ``.nii.gz`` as one suffix; empty if there is none.

    >>> suffix_of("patient0001_4CH_ED.nii.GZ"), suffix_of("IM_0001"), suffix_of("1.2.840.113")
    ('.nii.gz', '', '.113')
    """
    name = name.lower()
    if name.endswith(".nii.gz"):
        return ".nii.gz"
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix}" if dot and stem else ""


def file_digest(path: Path, display_name: str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        ReadError: the file cannot be read, or is empty.
    """
    with clean_errors(display_name, "cannot be read"), path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if stream.tell() == 0:
            raise ReadError(display_name, "is empty", "copy or export the file again")
    return digest


def _is_dicom(head: bytes) -> bool:
    return head[128:132] == b"DICM" or _is_bare_data_set(head)


def _is_bare_data_set(head: bytes) -> bool:
    """Whether a data set starts without a preamble (before PS3.10 of 1993, and some exports): group 0002 or 0008."""
    if len(head) < 16:
        return False
    orders: tuple[Literal["little", "big"], ...] = ("little", "big")
    for order in orders:
        group = int.from_bytes(head[0:2], order)
        element = int.from_bytes(head[2:4], order)
        if group not in (0x0002, 0x0008) or element > 0x0070:
            continue
        if _DICOM_VALUE_REPRESENTATION.fullmatch(head[4:6]):
            return True
        if order == "little" and int.from_bytes(head[4:8], "little") <= 1024:
            return True
    return False


def _is_nifti_gz(head: bytes) -> bool:
    if not head.startswith(_GZIP):
        return False
    try:
        return _is_nifti(zlib.decompressobj(wbits=31).decompress(head, 1024))
    except zlib.error:
        return False


def _is_nifti(head: bytes) -> bool:
    first = {int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")}
    version_1 = 348 in first and head[344:347] in (b"n+1", b"ni1")
    return version_1 or (540 in first and head[4:7] in (b"n+2", b"ni2"))


def _is_meta_image(head: bytes) -> bool:
    return re.search(rb"(?m)^\s*NDims\s*=\s*\d", head) is not None and b"ElementDataFile" in head


_SIGNATURES: dict[FileFormat, Callable[[bytes], bool]] = {
    FileFormat.DICOM: _is_dicom,
    FileFormat.PNG: lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    FileFormat.JPEG: lambda head: head.startswith(b"\xff\xd8\xff"),
    FileFormat.GIF: lambda head: head[:6] in (b"GIF87a", b"GIF89a"),
    FileFormat.AVI: lambda head: head.startswith(b"RIFF") and head[8:12] in (b"AVI ", b"AVIX"),
    FileFormat.MP4: lambda head: head[4:8] in _ISO_MEDIA_BOXES,
    FileFormat.MATROSKA: lambda head: head.startswith(b"\x1a\x45\xdf\xa3"),
    FileFormat.NIFTI_GZ: _is_nifti_gz,
    FileFormat.NIFTI: _is_nifti,
    FileFormat.META_IMAGE: _is_meta_image,
    FileFormat.ZIP: lambda head: head[:4] in (b"PK\x03\x04", b"PK\x05\x06"),
}
