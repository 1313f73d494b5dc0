"""Frames are found in encapsulated pixels whatever the offset tables say, and a cut file keeps its whole frames."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import encapsulate

from echoapex.io.clip_source import ReadError
from echoapex.io.dicom.frames import FragmentStream
from echoapex.io.dicom.pixels import Fragment, group_frames, index_fragments, read_frame

JPEGS = [b"\xff\xd8\xff" + bytes([65 + index]) * (20 + 2 * index) + b"\xff\xd9\0" for index in range(4)]
PLAIN = [bytes([65 + index]) * (20 + 2 * index) for index in range(4)]
END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def read_all(data: bytes, claimed: int, extended: tuple[int, ...] = ()) -> list[bytes]:
    stream = io.BytesIO(data)
    index = index_fragments(stream, 0, 1000, "a.dcm")
    frames = group_frames(index, stream, claimed, extended, "a.dcm")
    return [read_frame(stream, frame) for frame in frames]


def items(*values: bytes) -> bytes:
    return b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value for value in values)


def padded(frames: list[bytes]) -> list[bytes]:
    return [frame + b"\0" * (len(frame) % 2) for frame in frames]


@pytest.mark.parametrize("has_table", [True, False])
def test_one_fragment_a_frame(has_table: bool) -> None:
    assert read_all(encapsulate(JPEGS, has_bot=has_table) + END, 4) == padded(JPEGS)


@pytest.mark.parametrize("frames", [JPEGS, PLAIN])
def test_several_fragments_a_frame_by_the_offset_table(frames: list[bytes]) -> None:
    data = encapsulate(frames, fragments_per_frame=2, has_bot=True) + END
    assert [frame.rstrip(b"\0") for frame in read_all(data, 4)] == [frame.rstrip(b"\0") for frame in frames]


def test_several_fragments_a_frame_by_the_pictures() -> None:
    data = encapsulate(JPEGS, fragments_per_frame=2, has_bot=False) + END
    assert [frame.rstrip(b"\0") for frame in read_all(data, 4)] == [frame.rstrip(b"\0") for frame in JPEGS]


def test_several_fragments_a_frame_by_the_extended_table() -> None:
    a, b, c, d = PLAIN
    offsets = (0, 8 + len(a) + 8 + len(b))
    assert read_all(items(b"", a, b, c, d) + END, 2, offsets) == [a + b, c + d]


def test_one_frame_of_many_fragments() -> None:
    assert read_all(items(b"", *PLAIN) + END, 1) == [b"".join(PLAIN)]


def test_a_table_that_does_not_fit_is_not_used() -> None:
    table = struct.pack("<4L", 0, 7, 13, 21)
    assert read_all(items(table, *padded(JPEGS)) + END, 3) == padded(JPEGS)


def test_more_pictures_than_claimed() -> None:
    assert read_all(items(b"", *padded(JPEGS)) + END, 2) == padded(JPEGS)


def test_fragments_that_cannot_be_told_apart() -> None:
    with pytest.raises(ReadError, match="told apart"):
        read_all(items(b"", *PLAIN) + END, 2)


@pytest.mark.parametrize("frames", [JPEGS, PLAIN])
@pytest.mark.parametrize("has_table", [True, False])
def test_a_cut_file_keeps_its_whole_frames(frames: list[bytes], has_table: bool) -> None:
    data = encapsulate(frames, has_bot=has_table)
    stream = io.BytesIO(data[:-5])
    index = index_fragments(stream, 0, 1000, "a.dcm")
    assert index.truncated
    kept = group_frames(index, stream, 4, (), "a.dcm")
    assert [read_frame(stream, frame) for frame in kept] == padded(frames)[:3]


def test_a_cut_inside_a_frame_of_several_fragments_drops_that_frame() -> None:
    data = encapsulate(JPEGS, fragments_per_frame=2, has_bot=True)
    stream = io.BytesIO(data[:-5])
    index = index_fragments(stream, 0, 1000, "a.dcm")
    assert len(group_frames(index, stream, 4, (), "a.dcm")) == 3


@pytest.mark.parametrize(
    "data", [b"", b"12345678", items(b"abc"), items(b"") + b"\1\2\3\4\0\0\0\0" + b"x" * 40, items(b"")]
)
def test_damaged_items_are_refused(data: bytes) -> None:
    with pytest.raises(ReadError, match=r"damaged|no whole"):
        read_all(data, 2)


def test_too_many_fragments_are_refused() -> None:
    with pytest.raises(ReadError, match="more compressed fragments"):
        index_fragments(io.BytesIO(items(b"", *[b"ab"] * 50) + END), 0, 20, "a.dcm")


@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=8), data=st.data())
def test_the_joined_stream_reads_like_one_file(lengths: list[int], data: st.DataObject) -> None:
    whole = bytes(range(sum(lengths)))
    stored, fragments = b"", []
    for length in lengths:
        start = sum(fragment.length for fragment in fragments)
        stored += b"\xee" * 8
        fragments.append(Fragment(len(stored), length))
        stored += whole[start : start + length]
    stream = FragmentStream(io.BytesIO(stored), fragments)
    assert stream.read() == whole
    position = data.draw(st.integers(0, len(whole) + 3))
    assert stream.seek(position) == position
    assert io.BufferedReader(stream).read(5) == whole[position : position + 5]
    assert stream.seek(-1, io.SEEK_END) == max(0, len(whole) - 1)
