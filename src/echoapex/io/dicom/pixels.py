"""Decode one stored frame to 8-bit grey or RGB, whatever its compression, colours and depth."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut

from echoapex.io.clip_source import ReadError
from echoapex.io.dicom.codecs import (
    DECODERS,
    Picture,
    PixelLayout,
    decode_deep_grey,
    decode_jpeg,
    has_too_many_scans,
    is_jpeg,
    read_picture,
)
from echoapex.io.dicom.elements import clean_errors, number_of, value_of
from echoapex.io.processes import Task, run_apart

RLE = "1.2.840.10008.1.2.5"
"""Transfer syntax of RLE, which stores each frame in one fragment (PS3.5 section 8.2.2)."""
_RLE_HEADER_BYTES = 64
_AGAIN = "check that the file is whole, and export it again"
_APART = ("pyjpegls", "pylibjpeg")
"""Decoders (CharLS, OpenJPEG) that a damaged picture can crash or block: they run in the decoder process."""
_MOST_ENTRIES = 1 << 17
_LARGE_PIXELS = 1 << 22
_MOST_PIXELS_PER_BYTE = 2000
"""Limit for large pictures; blank echo frames reach some hundreds."""

Image = UInt8[np.ndarray, "height width *channels"]
Stored = Shaped[np.ndarray, "height width *channels"]


@dataclass(frozen=True)
class GreyWindow:
    """The range of stored values that is mapped linearly to 0..255."""

    low: float
    high: float


class FrameDecoder:
    """Decodes the stored bytes of one frame at a time."""

    def __init__(self, layout: PixelLayout, dataset: Dataset, display_name: str) -> None:
        """Prepare the palette or the grey window.

        Raises:
            ReadError: a palette image has no usable palette.
        """
        self.layout = layout
        self._display_name = display_name
        self._palette: UInt8[np.ndarray, "entries 3"] | None = None
        if layout.photometric == "PALETTE COLOR":
            with clean_errors(display_name, "its colour palette is missing or damaged"):
                self._palette = _read_palette(dataset, layout)
        self._window = None if self._palette is not None else read_grey_window(dataset, layout)

    @property
    def rescales(self) -> bool:
        """Whether samples of another depth are mapped to 8 bit."""
        return self._window is not None

    def decode(self, data: bytes, frame: int) -> Image:
        """Decode one frame.

        Args:
            data: the stored bytes of the frame.
            frame: its number, for error messages.

        Returns:
            Grey (height, width) or RGB (height, width, 3).

        Raises:
            ReadError: the frame is damaged or does not match the header.
        """
        with clean_errors(self._display_name, f"frame {frame} cannot be decoded"):
            stored = (
                _run_pydicom(data, self.layout, "") if self.layout.is_native else self._decode_compressed(data, frame)
            )
            if stored.shape[:2] != self.layout.size:
                raise ReadError(self._display_name, f"frame {frame} has another size than the header says", _AGAIN)
            return self._to_8_bit(stored)

    def _decode_compressed(self, data: bytes, frame: int) -> Stored:
        layout = self.layout
        syntax = str(layout.transfer_syntax)
        if syntax == RLE:
            self._check_segments(data, frame)
            return _run_pydicom(encapsulate([data], has_bot=False), layout, DECODERS[syntax])
        picture = self._checked_picture(data, frame)
        task = Task(self._display_name, f"frame {frame} cannot be decoded", len(data))
        if picture.precision > 8 and is_jpeg(layout):
            return run_apart(task, decode_deep_grey, data, layout)
        pixels = decode_jpeg(data, picture, layout)
        if pixels is not None:
            return pixels
        stream, plugin = encapsulate([data], has_bot=False), DECODERS[syntax]
        if plugin in _APART:
            return run_apart(task, _run_pydicom, stream, layout, plugin)
        return _run_pydicom(stream, layout, plugin)

    def _check_segments(self, data: bytes, frame: int) -> None:
        """Check the RLE header of a frame (PS3.5 section G.5) against its data; the decoder trusts the header."""
        wanted = self.layout.samples * self.layout.bits_allocated // 8
        header = struct.unpack_from("<16L", data) if len(data) >= _RLE_HEADER_BYTES else (0,)
        starts = header[1 : wanted + 1]
        in_order = all(a < b for a, b in pairwise((*starts, len(data))))
        if header[0] != wanted or starts[0] != _RLE_HEADER_BYTES or not in_order:
            raise ReadError(self._display_name, f"frame {frame} holds no readable picture", _AGAIN)

    def _checked_picture(self, data: bytes, frame: int) -> Picture:
        """The picture's own properties, compared with the header before a decoder allocates memory."""
        layout, picture = self.layout, read_picture(data)
        if picture is None:
            raise ReadError(self._display_name, f"frame {frame} holds no readable picture", _AGAIN)
        if (picture.height, picture.width, picture.components) != (*layout.size, layout.samples):
            raise ReadError(
                self._display_name,
                f"frame {frame} is a picture of {picture.width} x {picture.height} x {picture.components}, "
                f"the header says {layout.width} x {layout.height} x {layout.samples}",
                _AGAIN,
            )
        pixels = picture.height * picture.width
        is_empty = pixels > _LARGE_PIXELS and pixels > _MOST_PIXELS_PER_BYTE * len(data)
        if is_empty or (is_jpeg(layout) and has_too_many_scans(data, pixels)):
            raise ReadError(
                self._display_name, f"frame {frame} claims more to decode than {len(data)} bytes hold", _AGAIN
            )
        return picture

    def _to_8_bit(self, stored: Stored) -> Image:
        if self._palette is not None:
            coloured: Image = self._palette[np.clip(stored, 0, len(self._palette) - 1)]
            return coloured
        if self._window is None:
            grey: Image = stored.astype(np.uint8, copy=False)
        else:
            scale = 255.0 / (self._window.high - self._window.low)
            mapped = (stored.astype(np.float32) - np.float32(self._window.low)) * np.float32(scale)
            grey = np.clip(np.rint(mapped), 0, 255).astype(np.uint8)
        return np.bitwise_not(grey) if self.layout.photometric == "MONOCHROME1" else grey


def _run_pydicom(data: bytes, layout: PixelLayout, plugin: str) -> Stored:
    """Decode one frame; pydicom turns YCbCr into RGB and planes into pixels."""
    options: dict[str, Any] = {
        "rows": layout.height,
        "columns": layout.width,
        "number_of_frames": 1,
        "samples_per_pixel": layout.samples,
        "photometric_interpretation": layout.photometric,
        "planar_configuration": layout.planar,
        "bits_allocated": layout.bits_allocated,
        "bits_stored": layout.bits_stored,
        "pixel_representation": int(layout.signed),
        "pixel_keyword": "PixelData",
        "pixel_vr": layout.vr,
    }
    array, _ = get_decoder(layout.transfer_syntax).as_array(data, index=0, decoding_plugin=plugin, **options)
    return array


def _read_palette(dataset: Dataset, layout: PixelLayout) -> UInt8[np.ndarray, "entries 3"]:
    """The palette as one 8-bit table of all stored values (PS3.3 section C.7.6.3.1.5)."""
    for colour in ("Red", "Green", "Blue"):
        segments = value_of(dataset, f"Segmented{colour}PaletteColorLookupTableData")
        _check_segmented(segments, "<u2" if dataset.original_encoding[1] else ">u2")
    indices = np.arange(2**layout.bits_stored, dtype=np.uint16 if layout.bits_stored > 8 else np.uint8)
    table = np.asarray(apply_color_lut(indices[np.newaxis], dataset))[0]
    # some writers store 8-bit entries in a 16-bit palette
    eight_bit: UInt8[np.ndarray, "entries 3"] = (
        table >> 8 if table.dtype.itemsize == 2 and table.max() > 255 else table
    ).astype(np.uint8)
    return eight_bit


def _check_segmented(segments: object, word: str) -> None:
    """Refuse a segmented palette (PS3.3 section C.7.9.2) that expands to an impossible size."""
    if segments is None:
        return
    words = np.frombuffer(segments[: len(segments) // 2 * 2], word) if isinstance(segments, bytes) else ()
    position, entries = 0, 0
    while position + 1 < len(words):
        kind, length = int(words[position]), int(words[position + 1])
        if kind > 1 or entries + length > _MOST_ENTRIES:  # kind 2 repeats segments, and nobody writes it
            raise ValueError("the palette is too long")
        entries += length
        position += 2 + (length if kind == 0 else 1)


def read_grey_window(dataset: Dataset, layout: PixelLayout) -> GreyWindow | None:
    """The mapping of samples to 8 bit; None if the samples are unsigned 8-bit already.

    Grey images use the VOI window of the header (PS3.3 section C.11.2) if there is one; all others use the full range.
    """
    if layout.bits_stored == 8 and not layout.signed:
        return None
    low = -(2.0 ** (layout.bits_stored - 1)) if layout.signed else 0.0
    full = GreyWindow(low, low + 2.0**layout.bits_stored - 1)
    centre, width = number_of(dataset, "WindowCenter"), number_of(dataset, "WindowWidth")
    slope = number_of(dataset, "RescaleSlope") or 1.0
    intercept = number_of(dataset, "RescaleIntercept") or 0.0
    if layout.samples != 1 or centre is None or width is None or width <= 1:
        return full
    ends = sorted(((centre - 0.5 + side * (width - 1) / 2) - intercept) / slope for side in (-1, 1))
    return GreyWindow(*ends)


def without_shared_chroma(layout: PixelLayout, value_bytes: int) -> PixelLayout:
    """Correct the layout of native pixels called YBR_FULL_422 whose length shows that they have full chroma."""
    full = replace(layout, photometric="YBR_FULL")
    mislabelled = layout.photometric == "YBR_FULL_422" and value_bytes >= full.native_frame_bytes * layout.frame_count
    return full if layout.is_native and mislabelled else layout
