"""The size that a compressed picture itself claims, read from its first markers.

A decoder allocates what the picture claims, whatever the DICOM header says; so the claim is compared first.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_START_OF_FRAME = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_ADOBE = b"Adobe"
_J2K_START = b"\xff\x4f\xff\x51"


class Picture(NamedTuple):
    """What the markers of a compressed picture say.

    ``adobe_transform`` is the colour transform of an Adobe marker (0 none, 1 YCbCr), or None where there is no marker.
    """

    height: int
    width: int
    components: int
    precision: int
    adobe_transform: int | None = None


def read_picture(data: bytes) -> Picture | None:
    """Size, components and precision of a JPEG, JPEG-LS or JPEG 2000 picture; None when the markers are broken."""
    if data[:2] == b"\xff\xd8":
        return _read_jpeg(data)
    start = data[:256].find(_J2K_START)  # a JP2 file wraps the codestream in boxes
    return _read_jpeg2000(data, start) if start >= 0 else None


def _read_jpeg(data: bytes) -> Picture | None:
    """Walk the markers of ITU-T T.81 annex B up to the start of frame."""
    position, adobe_transform = 2, None
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF or marker in _STANDALONE:  # fill bytes, and markers without a length
            position += 1 if marker == 0xFF else 2
            continue
        length = struct.unpack_from(">H", data, position + 2)[0]
        body = data[position + 4 : position + 2 + length]
        if marker == 0xEE and body.startswith(_ADOBE) and len(body) >= 12:
            adobe_transform = body[11]
        if marker in _START_OF_FRAME:
            if len(body) < 6:
                return None
            precision, height, width, components = struct.unpack_from(">BHHB", body)
            return Picture(height, width, components, precision, adobe_transform)
        position += 2 + length
    return None


def _read_jpeg2000(data: bytes, start: int) -> Picture | None:
    """The SIZ marker segment of ITU-T T.800 annex A.5.1."""
    if len(data) < start + 43:
        return None
    right, bottom, left, top = struct.unpack_from(">4L", data, start + 8)
    components, precision = struct.unpack_from(">HB", data, start + 40)
    return Picture(bottom - top, right - left, components, (precision & 0x7F) + 1)
