"""Values of DICOM elements: typed values, ultrasound regions, timing, and the positions of compressed frames.

A broken element counts as missing: it never causes a crash, and no value of the file gets into an error message. The
fragments of an encapsulated pixel element (PS3.5 section A.4) are located without reading the pixels.
"""

from __future__ import annotations

import io
import logging
import math
import os
import struct
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from echoapex.io.calibration import TimingElements, UltrasoundRegion
from echoapex.io.clip_source import ReadError

_CONVERSION_ERRORS = (ValueError, TypeError, AttributeError, KeyError, NotImplementedError, OverflowError, LookupError)
_NOT_OF_THE_FILE = (KeyboardInterrupt, SystemExit, GeneratorExit)

_MAX_REGIONS = 1000
_CORNERS = (
    "RegionLocationMinX0",
    "RegionLocationMinY0",
    "RegionLocationMaxX1",
    "RegionLocationMaxY1",
)

_ITEM = 0xFFFEE000
_SEQUENCE_END = 0xFFFEE0DD
_MAX_OFFSET_TABLE_BYTES = 8 * 1024 * 1024
# the first bytes of a compressed picture: JPEG and JPEG-LS, JPEG 2000 codestream, JP2 file
_PICTURE_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP")


def value_of(dataset: Dataset, keyword: str) -> Any:
    """The value of an element, or None if it is missing, empty or unreadable."""
    try:
        with muted_pydicom():
            value = dataset.get(keyword)
    except Exception:  # pydicom has its own error types for bad lengths
        return None
    return None if value in (None, "", b"") else value


def text_of(dataset: Dataset, keyword: str) -> str:
    """The first string of an element, stripped; empty if there is none."""
    texts = texts_of(dataset, keyword)
    return texts[0] if texts else ""


def texts_of(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """All strings of an element, stripped."""
    value = value_of(dataset, keyword)
    if value is None:
        return ()
    items = (
        value if isinstance(value, MultiValue | list | tuple) else [value]
    )  # iterating a PersonName gives its letters
    return tuple(str(item).strip() for item in items)


def number_of(dataset: Dataset, keyword: str) -> float | None:
    """The first finite number of an element, or None."""
    numbers = numbers_of(dataset, keyword)
    return numbers[0] if numbers else None


def numbers_of(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """All finite numbers of an element; empty if one of them is unreadable."""
    value = value_of(dataset, keyword)
    if value is None:
        return ()
    items = [value] if isinstance(value, str | int | float) else value
    try:
        numbers = tuple(float(item) for item in items)
    except _CONVERSION_ERRORS:
        return ()
    return numbers if all(math.isfinite(number) for number in numbers) else ()


def integer_of(dataset: Dataset, keyword: str) -> int | None:
    """The first number of an element as an integer; None if there is none or it is not a whole number."""
    number = number_of(dataset, keyword)
    return int(number) if number is not None and number == int(number) else None


def read_regions(dataset: Dataset) -> tuple[UltrasoundRegion, ...]:
    """All items of SequenceOfUltrasoundRegions (0018,6011); unreadable elements are None."""
    items: Iterable[Any] | None = value_of(dataset, "SequenceOfUltrasoundRegions")
    if items is None or isinstance(items, str | bytes):
        return ()
    return tuple(_read_region(item) for item in list(items)[:_MAX_REGIONS] if isinstance(item, Dataset))


def read_timing(dataset: Dataset) -> TimingElements:
    """The timing elements of the Cine and Multi-frame modules."""
    return TimingElements(
        frame_time_vector_ms=numbers_of(dataset, "FrameTimeVector"),
        frame_time_ms=number_of(dataset, "FrameTime") or number_of(dataset, "ActualFrameDuration"),
        rate_hz=number_of(dataset, "CineRate") or number_of(dataset, "RecommendedDisplayFrameRate"),
        duration_s=number_of(dataset, "EffectiveDuration"),
        vector_is_pointed_to=value_of(dataset, "FrameIncrementPointer") == tag_for_keyword("FrameTimeVector"),
    )


@contextmanager
def clean_errors(display_name: str, while_doing: str) -> Iterator[None]:
    """Turn any error inside the block into one ``ReadError`` without values, paths or a chained traceback.

    Args:
        display_name: name of the file in the error message.
        while_doing: what failed, as in "its header cannot be parsed".

    Raises:
        ReadError: anything was raised inside the block; a ``ReadError`` passes unchanged.
    """
    try:
        with muted_pydicom():
            yield
    except (ReadError, *_NOT_OF_THE_FILE):
        raise
    except BaseException as error:  # panics of Rust decoders are not an Exception
        raise ReadError(display_name, _reason(error, while_doing), "check that the file is whole") from None


@contextmanager
def muted_pydicom() -> Iterator[None]:
    """Silence the warnings and log messages of pydicom, because they quote values of the file."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


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


class FragmentStream(io.RawIOBase):
    """All fragments as one seekable file, for video codecs (MPEG-2, MPEG-4, HEVC)."""

    def __init__(self, stream: BinaryIO, fragments: Sequence[Fragment]) -> None:
        super().__init__()
        self._stream = stream
        self._fragments = fragments
        self._starts = [0]
        for fragment in fragments:
            self._starts.append(self._starts[-1] + fragment.length)
        self._position = 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """Position in the joined bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position in the joined bytes."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer`` from the fragment at the current position; may return fewer bytes, and 0 at the end."""
        which = bisect_right(self._starts, self._position) - 1
        if which >= len(self._fragments):
            return 0
        within = self._position - self._starts[which]
        self._stream.seek(self._fragments[which].offset + within)
        data = self._stream.read(min(len(buffer), self._fragments[which].length - within))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _read_region(item: Dataset) -> UltrasoundRegion:
    corners = [integer_of(item, keyword) for keyword in _CORNERS]
    x0, y0, x1, y1 = corners
    complete = x0 is not None and y0 is not None and x1 is not None and y1 is not None
    return UltrasoundRegion(
        spatial_format=integer_of(item, "RegionSpatialFormat"),
        data_type=integer_of(item, "RegionDataType"),
        corners=(x0, y0, x1, y1) if complete else None,  # type: ignore[arg-type]
        unit_x=integer_of(item, "PhysicalUnitsXDirection"),
        unit_y=integer_of(item, "PhysicalUnitsYDirection"),
        delta_x=number_of(item, "PhysicalDeltaX"),
        delta_y=number_of(item, "PhysicalDeltaY"),
    )


def _reason(error: BaseException, while_doing: str) -> str:
    """Describe the error without its text, which may contain a path or a value."""
    if isinstance(error, MemoryError):
        return f"{while_doing} (it needs more memory than there is)"
    if isinstance(error, OSError) and error.errno:
        return f"{while_doing} ({os.strerror(error.errno)})"
    return while_doing


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
