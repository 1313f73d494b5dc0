"""One stored frame of a DICOM file: where its bytes are, and its 8-bit grey or RGB picture.

The fragments of an encapsulated pixel element (PS3.5 section A.4) are located without reading the pixels. A frame is
decoded whatever its compression, colours and depth.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Shaped, UInt8
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut

from echoapex.io.clip_source import ReadError, clean_errors
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
from echoapex.io.dicom.header import number_of, value_of
from echoapex.io.processes import DecodingTask, run_apart

_ITEM = 0xFFFEE000
_SEQUENCE_END = 0xFFFEE0DD
_MAX_OFFSET_TABLE_BYTES = 8 * 1024 * 1024
# the first bytes of a compressed picture: JPEG and JPEG-LS, JPEG 2000 codestream, JP2 file
_PICTURE_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP")
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
class Fragment:
    """One item of the pixel element: offset and length of its value in the file."""

    offset: int
    length: int


Frame = tuple[Fragment, ...]


@dataclass(frozen=True)
class EncapsulatedIndex:
    """The fragments of an encapsulated pixel element.

    Attributes:
        fragments: all complete fragments, in order.
        offset_table: byte offsets of the frames, counted from the first fragment's item; empty if there is none.
        truncated: whether the file ends inside the pixel element, so that the last frames are missing.
    """

    fragments: tuple[Fragment, ...]
    offset_table: tuple[int, ...]
    truncated: bool


def index_fragments(stream: BinaryIO, offset: int, max_fragments: int, display_name: str) -> EncapsulatedIndex:
    """Locate the fragments of the pixel element whose value starts at ``offset``.

    Raises:
        ReadError: the value is not a sequence of items, or there are more than ``max_fragments``.
    """
    size = stream.seek(0, io.SEEK_END)
    stream.seek(offset)
    table, position = _read_offset_table(stream, size, display_name)
    fragments: list[Fragment] = []
    while True:
        stream.seek(position)
        head = stream.read(8)
        tag, length = _item_head(head) if len(head) == 8 else (_ITEM, size)
        if tag == _SEQUENCE_END:
            return EncapsulatedIndex(tuple(fragments), table, truncated=False)
        if tag != _ITEM:
            raise ReadError(display_name, "its compressed frames are damaged", "copy or export the file again")
        if position + 8 + length > size:
            return EncapsulatedIndex(tuple(fragments), table, truncated=True)
        fragments.append(Fragment(position + 8, length))
        if len(fragments) > max_fragments:
            raise ReadError(
                display_name, "holds more compressed fragments than the limit", "raise the limit max_frames"
            )
        position += 8 + length


def group_frames(
    index: EncapsulatedIndex,
    stream: BinaryIO,
    claimed_frames: int,
    extended_offsets: Sequence[int],
    display_name: str,
    *,
    one_each: bool = False,
) -> tuple[Frame, ...]:
    """Group fragments into frames: by the offset table, else by count, else by the first bytes of each fragment.

    Args:
        index: the fragments.
        stream: the file, to read the first bytes of a fragment.
        claimed_frames: NumberOfFrames according to the header.
        extended_offsets: ExtendedOffsetTable of the header; empty if there is none.
        display_name: name of the file in the error.
        one_each: every frame is exactly one fragment (RLE), whatever the header and the table say.

    Raises:
        ReadError: there is no complete frame, or the fragments cannot be assigned to frames.
    """
    fragments = index.fragments
    offsets = tuple(extended_offsets) or index.offset_table
    if not fragments:
        raise ReadError(display_name, "holds no whole compressed frame", "copy or export the file again")
    if one_each or (claimed_frames == len(fragments) and len(offsets) in (0, len(fragments))):
        return tuple((fragment,) for fragment in fragments)
    starts = _starts_by_offset(fragments, offsets) or _starts_by_content(fragments, stream)
    if not starts:
        if claimed_frames == 1:
            return (fragments,)
        if index.truncated:  # nearly every writer uses one fragment per frame
            return tuple((fragment,) for fragment in fragments)
        raise ReadError(display_name, "its frames cannot be told apart", "export the clip again")
    ends = [*starts[1:], len(fragments)]
    frames = [fragments[start:end] for start, end in zip(starts, ends, strict=True)]
    if index.truncated and len(frames) > 1 and len(frames[-1]) < len(frames[0]):
        frames.pop()  # the file ends inside the last frame, which has several fragments
    return tuple(frames)


def read_frame(stream: BinaryIO, frame: Frame) -> bytes:
    """The compressed bytes of one frame: its fragments joined."""
    parts = []
    for fragment in frame:
        stream.seek(fragment.offset)
        parts.append(stream.read(fragment.length))
    return b"".join(parts)


def _read_offset_table(stream: BinaryIO, size: int, display_name: str) -> tuple[tuple[int, ...], int]:
    """Read the basic offset table; also return the position of the first fragment's item."""
    position = stream.tell()
    head = stream.read(8)
    tag, length = _item_head(head) if len(head) == 8 else (0, 0)
    if tag != _ITEM or length % 4 or length > _MAX_OFFSET_TABLE_BYTES or position + 8 + length > size:
        raise ReadError(display_name, "its compressed frames are damaged", "copy or export the file again")
    return struct.unpack(f"<{length // 4}L", stream.read(length)), position + 8 + length


def _item_head(head: bytes) -> tuple[int, int]:
    group, element, length = struct.unpack("<HHL", head)
    return group << 16 | element, length


def _starts_by_offset(fragments: Sequence[Fragment], offsets: Sequence[int]) -> list[int]:
    """Index of the first fragment of each frame from the offset table; empty if the table does not fit."""
    if not offsets:
        return []
    origin = fragments[0].offset
    index_at = {fragment.offset - origin: index for index, fragment in enumerate(fragments)}
    starts = [index_at[offset] for offset in offsets if offset in index_at]
    beyond = fragments[-1].offset + fragments[-1].length - origin
    missing = sum(offset not in index_at and offset < beyond for offset in offsets)
    in_order = all(a < b for a, b in pairwise(starts))
    return starts if starts and starts[0] == 0 and in_order and not missing else []


def _starts_by_content(fragments: Sequence[Fragment], stream: BinaryIO) -> list[int]:
    """Index of the fragments that begin a picture; empty if the first one does not, because then the rule fails."""
    starts = []
    for index, fragment in enumerate(fragments):
        stream.seek(fragment.offset)
        if stream.read(6).startswith(_PICTURE_STARTS):
            starts.append(index)
    return starts if starts and starts[0] == 0 else []


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
        task = DecodingTask(self._display_name, f"frame {frame} cannot be decoded", len(data))
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
