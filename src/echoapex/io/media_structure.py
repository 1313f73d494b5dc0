"""What the structure of a media file promises, read without decoding: whether it ends early, and how many pictures.

Demuxers take the end of a file for the end of a clip. So the sizes that a container gives its parts are compared with
the file: RIFF (AVI), ISO base media boxes (MP4, MOV), EBML (Matroska) and the blocks of a GIF.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from echoapex.io.file_format import FileFormat

_MOST_BOXES = 100_000
_SEGMENT = 0x18538067
_UNKNOWN_RIFF_SIZES = (0, 0xFFFFFFFF)


class Promise(NamedTuple):
    """What a media file promises: ``ends_early`` when it is shorter; ``pictures`` where its structure counts them."""

    ends_early: bool
    pictures: int | None = None


def read_promise(stream: BinaryIO, found: FileFormat) -> Promise:
    """Compare a media file with its own structure; the stream is left at its start."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    promise = _READERS[found](stream, size)
    stream.seek(0)
    return promise


def _read_avi(stream: BinaryIO, size: int) -> Promise:
    stream.seek(4)
    (claimed,) = struct.unpack("<L", stream.read(4).ljust(4, b"\0"))
    return Promise(claimed not in _UNKNOWN_RIFF_SIZES and claimed + 8 > size)


def _read_iso_media(stream: BinaryIO, size: int) -> Promise:
    position = 0
    for _ in range(_MOST_BOXES):
        stream.seek(position)
        head = stream.read(16)
        if len(head) < 8:
            return Promise(bool(head))
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:  # up to the end of the file, however long
            return Promise(False)
        if length < 8:  # no box: stray bytes behind the last one
            return Promise(False)
        position += length
        if position >= size:
            return Promise(position > size)
    return Promise(False)


def _read_matroska(stream: BinaryIO, size: int) -> Promise:
    position = 0
    for _ in range(8):
        stream.seek(position)
        head = stream.read(16)
        if len(head) < 4:
            return Promise(False)
        id_length = 9 - head[0].bit_length()
        if id_length > 4 or len(head) <= id_length or not head[id_length]:
            return Promise(False)
        size_length = 9 - head[id_length].bit_length()
        digits = head[id_length : id_length + size_length]
        length = int.from_bytes(digits, "big") & ((1 << 7 * size_length) - 1)
        end = position + id_length + size_length + length
        if int.from_bytes(head[:id_length], "big") == _SEGMENT:
            return Promise(length != (1 << 7 * size_length) - 1 and end > size)
        position = end
    return Promise(False)


def _read_gif(stream: BinaryIO, size: int) -> Promise:
    stream.seek(10)
    position = 13 + _colour_table_bytes(stream.read(1) or b"\0")
    pictures = 0
    while position < size:
        stream.seek(position)
        kind = stream.read(1)
        if kind == b";":
            return Promise(False, pictures)
        if kind == b"\x21":
            end = _after_sub_blocks(stream, position + 2, size)
        elif kind == b"\x2c":
            head = stream.read(9)
            end = None
            if len(head) == 9:
                end = _after_sub_blocks(stream, position + 11 + _colour_table_bytes(head[8:9]), size)
            pictures += 1
        else:
            break  # damaged: what follows cannot be counted
        if end is None:
            break
        position = end
    return Promise(True, pictures)


def _colour_table_bytes(packed: bytes) -> int:
    return 3 << (packed[0] & 7) + 1 if packed[0] & 0x80 else 0


def _after_sub_blocks(stream: BinaryIO, position: int, size: int) -> int | None:
    """The byte behind a chain of sub-blocks; None where the file ends within it."""
    while position < size:
        stream.seek(position)
        length = stream.read(1)[0]
        position += 1 + length
        if not length:
            return position
    return None


_READERS: dict[FileFormat, Callable[[BinaryIO, int], Promise]] = {
    FileFormat.AVI: _read_avi,
    FileFormat.MP4: _read_iso_media,
    FileFormat.MATROSKA: _read_matroska,
    FileFormat.GIF: _read_gif,
}
