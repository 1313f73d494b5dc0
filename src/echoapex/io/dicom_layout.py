"""How the samples of a DICOM image are stored: the Image Pixel module (PS3.3 section C.7.6.3), checked before use."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.uid import UID

from echoapex.io.clip_source import ReadError
from echoapex.io.dicom_header import DicomFile
from echoapex.io.dicom_values import integer_of, text_of

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
"""The decoder of each compressed transfer syntax: a plugin of pydicom, named so that no run depends on what else is
installed, or libjpeg-turbo, which ``dicom_jpeg`` asks first for every JPEG. GDCM is not among them: on a damaged
picture it ends the whole process.
"""


@dataclass(frozen=True)
class PixelLayout:
    """How the samples of one frame are stored.

    Attributes:
        height: rows.
        width: columns.
        frame_count: NumberOfFrames as the header claims it, at least 1.
        samples: samples per pixel, 1 or 3.
        photometric: photometric interpretation.
        planar: planar configuration; 1 stores one plane per colour.
        bits_allocated: 8 or 16.
        bits_stored: bits that carry the value.
        signed: whether samples are two's complement.
        transfer_syntax: of the pixels.
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
        """Whether one compressed stream runs across all frames."""
        return str(self.transfer_syntax).startswith(_MPEG)

    @property
    def native_frame_bytes(self) -> int:
        """Bytes of one uncompressed frame; YBR_FULL_422 shares its chroma between two pixels."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.height * self.width * samples * self.bits_allocated // 8


def read_layout(file: DicomFile) -> PixelLayout:
    """The layout that the header claims.

    Raises:
        ReadError: an element is missing, contradicts another or exceeds a limit, or no decoder is there.
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
    """The registered name of a transfer syntax; an unregistered one is not quoted, since anything may stand there."""
    name = transfer_syntax.name  # of an unregistered one this is the UID itself
    return name if name != str(transfer_syntax) else "an unregistered transfer syntax"


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
