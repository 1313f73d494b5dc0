"""Where each compressed frame lies in an encapsulated pixel element (PS3.5 section A.4), found without reading it."""

from __future__ import annotations

import io
import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

from echoapex.io.clip_source import ReadError

_ITEM = 0xFFFEE000
_SEQUENCE_END = 0xFFFEE0DD
_MAX_OFFSET_TABLE_BYTES = 8 * 1024 * 1024
# the first bytes of a compressed picture: JPEG and JPEG-LS, JPEG 2000 codestream, JP2 file
_PICTURE_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP")


@dataclass(frozen=True)
class Fragment:
    """One item of the pixel element: offset and length of its value in the file."""

    offset: int
    length: int


Frame = tuple[Fragment, ...]


@dataclass(frozen=True)
class EncapsulatedIndex:
    """The fragments of a pixel element.

    Attributes:
        fragments: every whole fragment, in order.
        offset_table: byte offsets of the frames, counted from the first fragment's item; empty when there is none.
        truncated: the file ends inside the pixel element, so the last frames are missing.
    """

    fragments: tuple[Fragment, ...]
    offset_table: tuple[int, ...]
    truncated: bool


def index_fragments(stream: BinaryIO, offset: int, max_fragments: int, display_name: str) -> EncapsulatedIndex:
    """Walk over the items of the pixel element whose value starts at ``offset``.

    Raises:
        ReadError: what follows is no sequence of items, or there are more than ``max_fragments``.
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
    """Which fragments make up which frame: by offset table, else by count, else by the first bytes of each fragment.

    Args:
        index: the fragments.
        stream: the file, to look at the first bytes of a fragment.
        claimed_frames: NumberOfFrames of the header.
        extended_offsets: ExtendedOffsetTable of the header, empty when it has none.
        display_name: name of the file in the error.
        one_each: the compression puts every frame into exactly one fragment (RLE), whatever header and table say.

    Raises:
        ReadError: no whole frame, or the fragments cannot be told apart.
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
        if index.truncated:  # one fragment a frame is what nearly every writer does
            return tuple((fragment,) for fragment in fragments)
        raise ReadError(display_name, "its frames cannot be told apart", "export the clip again")
    ends = [*starts[1:], len(fragments)]
    frames = [fragments[start:end] for start, end in zip(starts, ends, strict=True)]
    if index.truncated and len(frames) > 1 and len(frames[-1]) < len(frames[0]):
        frames.pop()  # the break fell inside the last frame of several fragments
    return tuple(frames)


def read_frame(stream: BinaryIO, frame: Frame) -> bytes:
    """The compressed bytes of one frame, its fragments joined."""
    parts = []
    for fragment in frame:
        stream.seek(fragment.offset)
        parts.append(stream.read(fragment.length))
    return b"".join(parts)


class FragmentStream(io.RawIOBase):
    """All fragments as one seekable file, for codecs that stream across frames (MPEG-2, MPEG-4, HEVC)."""

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
        """Fill ``buffer`` from the fragment at the current position; may give less than asked for, 0 at the end."""
        which = bisect_right(self._starts, self._position) - 1
        if which >= len(self._fragments):
            return 0
        within = self._position - self._starts[which]
        self._stream.seek(self._fragments[which].offset + within)
        data = self._stream.read(min(len(buffer), self._fragments[which].length - within))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _item_head(head: bytes) -> tuple[int, int]:
    group, element, length = struct.unpack("<HHL", head)
    return group << 16 | element, length


def _read_offset_table(stream: BinaryIO, size: int, display_name: str) -> tuple[tuple[int, ...], int]:
    """The basic offset table and the position of the first fragment's item."""
    position = stream.tell()
    head = stream.read(8)
    tag, length = _item_head(head) if len(head) == 8 else (0, 0)
    if tag != _ITEM or length % 4 or length > _MAX_OFFSET_TABLE_BYTES or position + 8 + length > size:
        raise ReadError(display_name, "its compressed frames are damaged", "copy or export the file again")
    return struct.unpack(f"<{length // 4}L", stream.read(length)), position + 8 + length


def _starts_by_offset(fragments: Sequence[Fragment], offsets: Sequence[int]) -> list[int]:
    """Index of the first fragment of each frame by the offset table; empty when the table does not fit."""
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
    """Index of the fragments that begin a picture; empty when the first does not, so that the rule does not apply."""
    starts = []
    for index, fragment in enumerate(fragments):
        stream.seek(fragment.offset)
        if stream.read(6).startswith(_PICTURE_STARTS):
            starts.append(index)
    return starts if starts and starts[0] == 0 else []
