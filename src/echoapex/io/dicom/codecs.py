"""Compressed pixels of DICOM: the layout that the header claims, the size that each picture claims, JPEG decoding.

The layout is the Image Pixel module (PS3.3 section C.7.6.3), checked before use. A decoder allocates the size that the
compressed picture claims, whatever the DICOM header says. So that size is read from the picture's first markers and
compared with the header first.

JPEG baseline, extended and lossless are decoded by libjpeg-turbo if it gets the colours right. Its Python binding does
not return samples of more than 8 bit; FFmpeg decodes those.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import av
import numpy as np
import simplejpeg
from jaxtyping import Shaped, UInt8
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

from echoapex.io.clip_source import ReadError
from echoapex.io.dicom.header import DicomFile, integer_of, text_of

_SAMPLES = {
    **dict.fromkeys(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"), 1),
    **dict.fromkeys(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT"), 3),
}
_MPEG = "1.2.840.10008.1.2.4.10"  # .100 to .108: MPEG-2, MPEG-4, HEVC, with fragmentable variants .100.1 and so on
_JPEG_XL = {"1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112"}
_NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}

DECODERS = {
    "1.2.840.10008.1.2.5": "pylibjpeg",
    "1.2.840.10008.1.2.4.50": "pillow",
    "1.2.840.10008.1.2.4.51": "pillow",
    "1.2.840.10008.1.2.4.57": "libjpeg-turbo",
    "1.2.840.10008.1.2.4.70": "libjpeg-turbo",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    **{f"1.2.840.10008.1.2.4.{number}": "pylibjpeg" for number in (90, 91, 201, 202, 203)},
}
"""The decoder of each compressed transfer syntax: a plugin of pydicom, or libjpeg-turbo.

The plugin is named, so that the result does not depend on what else is installed. :func:`decode_jpeg` tries
libjpeg-turbo first for every JPEG. GDCM is not used: a damaged picture makes it end the whole process.
"""

_START_OF_FRAME = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_LOSSLESS = 0xC3
_APP0, _APP14 = 0xE0, 0xEE
_ADOBE = b"Adobe"
_START_OF_SCAN = b"\xff\xda"
_MOST_SCANNED_PIXELS = 1_000_000_000
_J2K_START = b"\xff\x4f\xff\x51"

_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit)
_JPEG = (*_LOSSY, JPEGLossless, JPEGLosslessSV1)
_CONVERTIBLE = {"YBR_FULL", "YBR_FULL_422", "MONOCHROME1", "MONOCHROME2"}
_HARMLESS = "extraneous bytes"

Stored = Shaped[np.ndarray, "height width *channels"]


@dataclass(frozen=True)
class PixelLayout:
    """How the samples of one frame are stored.

    Attributes:
        height: rows.
        width: columns.
        frame_count: NumberOfFrames according to the header, at least 1.
        samples: samples per pixel, 1 or 3.
        photometric: photometric interpretation.
        planar: planar configuration; 1 means one plane per colour.
        bits_allocated: 8 or 16.
        bits_stored: bits that carry the value.
        signed: whether the samples are signed (two's complement).
        transfer_syntax: transfer syntax of the pixels.
        vr: value representation of the pixel element.
    """

    height: int
    width: int
    frame_count: int
    samples: int
    photometric: str
    planar: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    transfer_syntax: UID
    vr: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return (self.height, self.width)

    @property
    def is_native(self) -> bool:
        """Whether the samples are stored uncompressed."""
        return str(self.transfer_syntax) in _NATIVE

    @property
    def is_video(self) -> bool:
        """Whether all frames are one compressed video stream."""
        return str(self.transfer_syntax).startswith(_MPEG)

    @property
    def native_frame_bytes(self) -> int:
        """Bytes of one uncompressed frame; YBR_FULL_422 shares its chroma between two pixels."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.height * self.width * samples * self.bits_allocated // 8


def read_layout(file: DicomFile) -> PixelLayout:
    """Read the layout from the header and check it.

    Raises:
        ReadError: an element is missing, contradicts another or exceeds a limit, or there is no decoder.
    """
    name, dataset = file.display_name, file.dataset
    photometric = text_of(dataset, "PhotometricInterpretation").upper()
    if photometric not in _SAMPLES:
        raise ReadError(name, "its photometric interpretation is missing or not supported", "export it as RGB or grey")
    claimed = integer_of(dataset, "NumberOfFrames")
    layout = PixelLayout(
        height=integer_of(dataset, "Rows") or 0,
        width=integer_of(dataset, "Columns") or 0,
        frame_count=1 if claimed is None else claimed,
        samples=integer_of(dataset, "SamplesPerPixel") or _SAMPLES[photometric],
        photometric=photometric,
        planar=integer_of(dataset, "PlanarConfiguration") or 0,
        bits_allocated=integer_of(dataset, "BitsAllocated") or 0,
        bits_stored=integer_of(dataset, "BitsStored") or integer_of(dataset, "BitsAllocated") or 0,
        signed=integer_of(dataset, "PixelRepresentation") == 1,
        transfer_syntax=file.transfer_syntax,
        vr=file.pixels.vr,
    )
    file.limits.check_frames(layout.size, layout.frame_count, name)
    _check_samples(layout, name)
    _check_syntax(layout, file.pixels.length is None, name)
    return layout


def syntax_name(transfer_syntax: UID) -> str:
    """The registered name of a transfer syntax; an unregistered UID is not quoted, because it may contain anything."""
    name = transfer_syntax.name  # for an unregistered one this is the UID itself
    return name if name != str(transfer_syntax) else "an unregistered transfer syntax"


def is_jpeg(layout: PixelLayout) -> bool:
    """Whether pictures are JPEG baseline, extended or lossless (not JPEG-LS, not JPEG 2000)."""
    return layout.transfer_syntax in _JPEG


class Picture(NamedTuple):
    """Properties of a compressed picture, read from its markers.

    ``adobe_transform`` is the colour transform of an Adobe marker (0 none, 1 YCbCr), or None if there is no marker.
    ``is_lossless`` is true for JPEG lossless (process 14).
    """

    height: int
    width: int
    components: int
    precision: int
    adobe_transform: int | None = None
    is_lossless: bool = False


def read_picture(data: bytes) -> Picture | None:
    """Size, components and precision of a JPEG, JPEG-LS or JPEG 2000 picture; None if its markers are broken."""
    if data[:2] == b"\xff\xd8":
        return _read_jpeg(data)
    start = data[:256].find(_J2K_START)  # a JP2 file wraps the codestream in boxes
    return _read_jpeg2000(data, start) if start >= 0 else None


def has_too_many_scans(data: bytes, pixels: int) -> bool:
    """Whether a JPEG picture has so many scans over its ``pixels`` that decoding would take too long.

    A scan of a progressive picture can cover the whole image in a few bytes. Real pictures have about ten scans.
    """
    return data.count(_START_OF_SCAN) * pixels > _MOST_SCANNED_PIXELS


def decode_jpeg(data: bytes, picture: Picture, layout: PixelLayout) -> Stored | None:
    """Decode a JPEG picture to grey samples or RGB.

    Args:
        data: the compressed picture.
        picture: its properties; the size has been compared with the header.
        layout: the layout according to the header.

    Returns:
        The samples, or None if the picture is not JPEG or if its depth or colours need another decoder.

    Raises:
        ValueError: the picture is damaged.
    """
    if not is_jpeg(layout) or picture.precision > 8:
        return None
    if picture.is_lossless:
        stored = _decode_8_bit(without_colour_markers(data), layout.samples)
        return convert_color_space(stored, "YBR_FULL", "RGB") if layout.photometric.startswith("YBR") else stored
    return _decode_8_bit(data, layout.samples) if _colours_are_right(layout, picture) else None


def without_colour_markers(data: bytes) -> bytes:
    """Remove the JFIF and Adobe markers of a JPEG picture, so that its components are decoded as they are stored."""
    kept, last = [], 0
    for marker, start, end in _segments(data):
        if marker in (_APP0, _APP14):
            kept.append(data[last:start])
            last = end
    return b"".join((*kept, data[last:]))


def decode_deep_grey(data: bytes, layout: PixelLayout) -> Stored:
    """Decode one grey JPEG picture of 9 to 16 bits per sample with FFmpeg.

    Raises:
        ValueError: the picture is damaged, in colour or signed.
    """
    if layout.samples != 1 or layout.signed:
        raise ValueError("coloured or signed JPEG of more than 8 bits is not supported")
    codec = av.CodecContext.create("mjpeg", "r")
    frames = [*codec.decode(av.Packet(data)), *codec.decode(None)]
    if not frames or not frames[0].format.name.startswith("gray"):
        raise ValueError("no grey picture")
    decoded: Stored = frames[0].to_ndarray()
    return decoded


def _check_samples(layout: PixelLayout, name: str) -> None:
    if layout.samples != _SAMPLES[layout.photometric]:
        raise ReadError(name, f"has {layout.samples} samples a pixel for {layout.photometric}", "export it again")
    if layout.bits_allocated not in (8, 16) or not 1 <= layout.bits_stored <= layout.bits_allocated:
        raise ReadError(
            name,
            f"stores {layout.bits_stored} of {layout.bits_allocated} bits a sample",
            "export it with 8 or 16 bits a sample",
        )
    if layout.planar not in (0, 1):
        raise ReadError(name, "its planar configuration is neither 0 nor 1", "export it again")
    if layout.is_native and layout.photometric == "YBR_FULL_422" and layout.width % 2:
        raise ReadError(name, "has shared chroma but an odd width", "export it as RGB")


def _check_syntax(layout: PixelLayout, encapsulated: bool, name: str) -> None:
    syntax = str(layout.transfer_syntax)
    if syntax in _JPEG_XL:
        raise ReadError(name, "is compressed as JPEG XL, for which no decoder is installed", "export it as JPEG 2000")
    if not (layout.is_native or layout.is_video or syntax in DECODERS):
        raise ReadError(
            name,
            f"is stored as {syntax_name(layout.transfer_syntax)}, which cannot be decoded",
            "export it uncompressed",
        )
    if layout.is_native == encapsulated:
        stored = "encapsulated" if encapsulated else "native"
        raise ReadError(
            name, f"its pixels are {stored}, against its transfer syntax", "export it again with a matching syntax"
        )


def _read_jpeg(data: bytes) -> Picture | None:
    """Read the markers (ITU-T T.81 annex B) up to the start of frame."""
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
    """Marker, start and end of every marker segment, up to the start of frame or the first broken segment."""
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
    """Read the SIZ marker segment (ITU-T T.800 annex A.5.1)."""
    if len(data) < start + 43:
        return None
    right, bottom, left, top = struct.unpack_from(">4L", data, start + 8)
    components, precision = struct.unpack_from(">HB", data, start + 40)
    return Picture(bottom - top, right - left, components, (precision & 0x7F) + 1)


def _decode_8_bit(data: bytes, samples: int) -> UInt8[np.ndarray, "height width *channels"]:
    """Decode with libjpeg-turbo; a truncated picture is an error, stray bytes between markers are not."""
    colours = "RGB" if samples == 3 else "GRAY"
    try:
        pixels = simplejpeg.decode_jpeg(data, colorspace=colours, fastdct=False)
    except ValueError as error:
        if _HARMLESS not in str(error):
            raise
        pixels = simplejpeg.decode_jpeg(data, colorspace=colours, fastdct=False, strict=False)
    decoded: UInt8[np.ndarray, "height width *channels"] = pixels if samples == 3 else pixels[:, :, 0]
    return decoded


def _colours_are_right(layout: PixelLayout, picture: Picture) -> bool:
    """Whether libjpeg interprets the colours as the header does.

    Without an Adobe marker libjpeg assumes that three components are YCbCr; an Adobe transform of 0 means RGB.
    """
    known = layout.photometric in _CONVERTIBLE or layout.samples == 1
    return known and (layout.samples == 1 or picture.adobe_transform in (None, 1))
