"""The size that a compressed picture itself claims, read from its first markers.

A decoder allocates what the picture claims, whatever the DICOM header says; so the claim is compared first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_START_OF_FRAME = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_LOSSLESS = 0xC3
_APP0, _APP14 = 0xE0, 0xEE
_ADOBE = b"Adobe"
_START_OF_SCAN = b"\xff\xda"
_MOST_SCANNED_PIXELS = 1_000_000_000
_J2K_START = b"\xff\x4f\xff\x51"


class Picture(NamedTuple):
    """What the markers of a compressed picture say.

    ``adobe_transform`` is the colour transform of an Adobe marker (0 none, 1 YCbCr), or None where there is no marker.
    ``is_lossless`` marks JPEG lossless (process 14).
    """

    height: int
    width: int
    components: int
    precision: int
    adobe_transform: int | None = None
    is_lossless: bool = False


def read_picture(data: bytes) -> Picture | None:
    """Size, components and precision of a JPEG, JPEG-LS or JPEG 2000 picture; None when the markers are broken."""
    if data[:2] == b"\xff\xd8":
        return _read_jpeg(data)
    start = data[:256].find(_J2K_START)  # a JP2 file wraps the codestream in boxes
    return _read_jpeg2000(data, start) if start >= 0 else None


def has_too_many_scans(data: bytes, pixels: int) -> bool:
    """Whether a JPEG picture goes over its ``pixels`` so often that decoding has no end worth waiting for.

    A scan of a progressive picture can cover everything in a few bytes. Real ones have about ten.
    """
    return data.count(_START_OF_SCAN) * pixels > _MOST_SCANNED_PIXELS


def without_colour_markers(data: bytes) -> bytes:
    """A JPEG picture without its JFIF and Adobe markers, so that its components are decoded as they are stored."""
    kept, last = [], 0
    for marker, start, end in _segments(data):
        if marker in (_APP0, _APP14):
            kept.append(data[last:start])
            last = end
    return b"".join((*kept, data[last:]))


def _read_jpeg(data: bytes) -> Picture | None:
    """Walk the markers of ITU-T T.81 annex B up to the start of frame."""
    adobe_transform = None
    for marker, start, end in _segments(data):
        body = data[start + 4 : end]
        if marker == _APP14 and body.startswith(_ADOBE) and len(body) >= 12:
            adobe_transform = body[11]
        if marker in _START_OF_FRAME:
            if len(body) < 6:
                return None
            precision, height, width, components = struct.unpack_from(">BHHB", body)
            return Picture(height, width, components, precision, adobe_transform, marker == _LOSSLESS)
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of every marker segment up to the start of frame, or to the first broken one."""
    position, marker = 2, 0
    while position + 4 <= len(data) and data[position] == 0xFF and marker not in _START_OF_FRAME:
        marker = data[position + 1]
        if marker == 0xFF or marker in _STANDALONE:  # fill bytes, and markers without a length
            position += 1 if marker == 0xFF else 2
            continue
        end = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
        yield marker, position, end
        position = end


def _read_jpeg2000(data: bytes, start: int) -> Picture | None:
    """The SIZ marker segment of ITU-T T.800 annex A.5.1."""
    if len(data) < start + 43:
        return None
    right, bottom, left, top = struct.unpack_from(">4L", data, start + 8)
    components, precision = struct.unpack_from(">HB", data, start + 40)
    return Picture(bottom - top, right - left, components, (precision & 0x7F) + 1)
