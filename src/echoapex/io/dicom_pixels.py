"""Decode one stored frame to 8-bit grey or RGB."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut

from echoapex.io.clip_source import ReadError
from echoapex.io.dicom_codestream import Picture, read_picture
from echoapex.io.dicom_jpeg import decode_jpeg
from echoapex.io.dicom_layout import DECODERS, PixelLayout
from echoapex.io.dicom_values import clean_errors, number_of

_RLE = "1.2.840.10008.1.2.5"
_AGAIN = "check that the file is whole, and export it again"

Image = UInt8[np.ndarray, "height width *channels"]
Stored = Shaped[np.ndarray, "height width *channels"]


@dataclass(frozen=True)
class GreyWindow:
    """The range of stored values that is mapped to 0..255, linearly."""

    low: float
    high: float


class FrameDecoder:
    """Decodes the stored bytes of a frame, whatever its compression, colours and depth."""

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
        """Whether samples are mapped from another depth to 8 bit."""
        return self._window is not None

    def decode(self, data: bytes, frame: int) -> Image:
        """Decode one frame.

        Args:
            data: the stored bytes of the frame.
            frame: its number, for the error.

        Returns:
            Grey (height, width) or RGB (height, width, 3).

        Raises:
            ReadError: the frame is damaged or is not as the header says.
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
        if str(layout.transfer_syntax) != _RLE:
            picture = self._checked_picture(data, frame)
            pixels = decode_jpeg(data, picture, layout)
            if pixels is not None:
                return pixels
        return _run_pydicom(encapsulate([data], has_bot=False), layout, DECODERS[str(layout.transfer_syntax)])

    def _checked_picture(self, data: bytes, frame: int) -> Picture:
        """What the picture claims, compared with the header before a decoder allocates it."""
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
    """The palette as one 8-bit table over every stored value (PS3.3 section C.7.6.3.1.5)."""
    indices = np.arange(2**layout.bits_stored, dtype=np.uint16 if layout.bits_stored > 8 else np.uint8)
    table = np.asarray(apply_color_lut(indices[np.newaxis], dataset))[0]
    # some writers store 8-bit entries in a 16-bit palette
    eight_bit: UInt8[np.ndarray, "entries 3"] = (
        table >> 8 if table.dtype.itemsize == 2 and table.max() > 255 else table
    ).astype(np.uint8)
    return eight_bit


def read_grey_window(dataset: Dataset, layout: PixelLayout) -> GreyWindow | None:
    """The mapping to 8 bit for deeper samples; None where samples are 8-bit as they are.

    The VOI window of the header is used for grey images deeper than 8 bit (PS3.3 section C.11.2), else the full range.
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
    """The layout of native pixels that are called YBR_FULL_422 but stored with full chroma, told by their length."""
    full = replace(layout, photometric="YBR_FULL")
    mislabelled = layout.photometric == "YBR_FULL_422" and value_bytes >= full.native_frame_bytes * layout.frame_count
    return full if layout.is_native and mislabelled else layout
