"""The stored frames of a DICOM file, one at a time: native samples, compressed pictures, or a video stream.

Video streams (MPEG-2, MPEG-4 AVC, HEVC; PS3.5 section 8.2.5 and following) are decoded with PyAV.
"""

from __future__ import annotations

import io
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import av
import numpy as np
from jaxtyping import UInt8

from echoapex.io.clip_source import ReadError, ReadFlag, ReadLimits, clean_errors
from echoapex.io.dicom.codecs import PixelLayout
from echoapex.io.dicom.header import DicomFile, value_of
from echoapex.io.dicom.pixels import (
    RLE,
    Fragment,
    Frame,
    FrameDecoder,
    group_frames,
    index_fragments,
    read_frame,
    without_shared_chroma,
)
from echoapex.io.processes import DecodingTask, run_apart
from echoapex.io.video import open_media

_FORMATS = ("mpeg", "mpegvideo", "mpegts", "mov,mp4,m4a,3gp,3g2,mj2", "h264", "hevc", "m4v")

Image = UInt8[np.ndarray, "height width *channels"]

_FRAGMENTS_PER_FRAME = 16
_SAMPLED_FRAMES = 12
_SAMPLED_PIXELS = 32_000_000
_OTHER_SIZE = "its video stream has another size than the header says"


class StoredFrames(Protocol):
    """Access to the decoded frames of one file."""

    @property
    def frame_count(self) -> int:
        """Frames that can be decoded."""
        ...

    @property
    def flags(self) -> tuple[ReadFlag, ...]:
        """Decisions that were made while locating the frames."""
        ...

    def sample(self) -> list[Image]:
        """A few frames spread over the clip, including the first."""
        ...

    def decode_all(self) -> Iterator[Image]:
        """Every frame in order, one at a time."""
        ...

    def decode_every(self, stride: int) -> Iterator[Image]:
        """The first frame and every ``stride``-th after it."""
        ...


def locate_frames(file: DicomFile, layout: PixelLayout) -> StoredFrames:
    """Find the frames of a file.

    Raises:
        ReadError: the native pixels are shorter than the header says, or there is no complete compressed frame.
    """
    if layout.is_video:
        return VideoFrames(file, layout)
    if layout.is_native:
        return _locate_native(file, layout)
    return _locate_compressed(file, layout)


class SeparateFrames:
    """Frames that are stored separately (native or compressed), so that each can be decoded alone."""

    def __init__(
        self, file: DicomFile, decoder: FrameDecoder, frames: Sequence[Frame], flags: tuple[ReadFlag, ...]
    ) -> None:
        self._file = file
        self._decoder = decoder
        self._frames = frames
        self.flags = (*flags, *((ReadFlag.RESCALED_TO_8_BIT,) if decoder.rescales else ()))

    @property
    def frame_count(self) -> int:
        """Frames that can be decoded."""
        return len(self._frames)

    def sample(self) -> list[Image]:
        """Some frames spread evenly over the clip; fewer if they are large."""
        return list(self._decode(spread(self.frame_count, _sample_size(self._decoder.layout))))

    def decode_all(self) -> Iterator[Image]:
        """Every frame in order."""
        return self._decode(range(self.frame_count))

    def decode_every(self, stride: int) -> Iterator[Image]:
        """The first frame and every ``stride``-th after it; frames in between are not decoded."""
        return self._decode(range(0, self.frame_count, stride))

    def _decode(self, wanted: Sequence[int]) -> Iterator[Image]:
        with self._file.open_bytes() as stream:
            for number in wanted:
                with clean_errors(self._file.display_name, f"frame {number} cannot be read"):
                    data = read_frame(stream, self._frames[number])
                yield self._decoder.decode(data, number)


class VideoFrames:
    """Frames of one video stream; they are counted by decoding once, because the header may be wrong."""

    def __init__(self, file: DicomFile, layout: PixelLayout) -> None:
        """Decode the stream once, keeping only a sample.

        Raises:
            ReadError: the stream cannot be decoded, or its size differs from the header.
        """
        self._file = file
        self._layout = layout
        with clean_errors(file.display_name, "its video stream cannot be read"), file.open_bytes() as stream:
            limit = file.limits.max_frames * _FRAGMENTS_PER_FRAME
            self._index = index_fragments(stream, file.pixels.offset, limit, file.display_name)
        wanted = _sample_size(layout)
        task = DecodingTask(file.display_name, "its video stream cannot be decoded", file.size)
        place = StreamPlace(file.path.absolute(), self._index.fragments, file.display_name)
        found = run_apart(task, count_frames, place, file.limits, max(1, layout.frame_count // wanted), wanted)
        self.frame_count, self._sample = found
        if any(frame.shape[:2] != layout.size for frame in self._sample):
            raise ReadError(file.display_name, _OTHER_SIZE, "export it again")
        if self.frame_count == 0:
            raise ReadError(file.display_name, "its video stream holds no frame", "export the clip again")
        flags = [ReadFlag.FRAME_COUNT_DISAGREES] if self.frame_count != layout.frame_count else []
        flags += [ReadFlag.TRUNCATED] if self._index.truncated and self.frame_count < layout.frame_count else []
        self.flags = tuple(flags)

    def sample(self) -> list[Image]:
        """Some frames, kept from the first pass."""
        return list(self._sample)

    def decode_all(self) -> Iterator[Image]:
        """Every frame in order."""
        name = self._file.display_name
        with self._file.open_bytes() as stream:
            frames = decode_video(FragmentStream(stream, self._index.fragments), self._file.limits, name)
            while True:
                with clean_errors(name, "its video stream cannot be decoded"):
                    frame = next(frames, None)
                if frame is None:
                    return
                if frame.shape[:2] != self._layout.size:
                    raise ReadError(name, _OTHER_SIZE, "export it again")
                yield frame

    def decode_every(self, stride: int) -> Iterator[Image]:
        """The first frame and every ``stride``-th after it; the whole stream is decoded."""
        return islice(self.decode_all(), 0, None, stride)


def spread(frame_count: int, wanted: int) -> list[int]:
    """Up to ``wanted`` frame numbers spread evenly from the first to the last.

    >>> spread(9, 3)
    [0, 4, 8]
    """
    return sorted({round(position) for position in np.linspace(0, frame_count - 1, min(wanted, frame_count))})


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


class StreamPlace(NamedTuple):
    """Location of a stream: the file, the fragments in it, and the name for error messages."""

    path: Path
    fragments: Sequence[Fragment]
    display_name: str


class StreamSize(NamedTuple):
    """Result of decoding a stream once: the number of frames, and a sample of them."""

    frame_count: int
    sample: tuple[UInt8[np.ndarray, "height width 3"], ...]


def count_frames(place: StreamPlace, limits: ReadLimits, stride: int, wanted: int) -> StreamSize:
    """Decode a stream once and keep every ``stride``-th frame, at most ``wanted``; runs in the decoder process.

    Raises:
        ReadError: the stream cannot be decoded or exceeds the limits.
    """
    sample: list[UInt8[np.ndarray, "height width 3"]] = []
    count = 0
    name = place.display_name
    with clean_errors(name, "its video stream cannot be decoded"), place.path.open("rb") as stream:
        for frame in decode_video(FragmentStream(stream, place.fragments), limits, name):
            if count % stride == 0 and len(sample) < wanted:
                sample.append(frame)
            count += 1
    return StreamSize(count, tuple(sample))


def decode_video(
    stream: FragmentStream, limits: ReadLimits, display_name: str
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Decode a video stream frame by frame, in display order.

    Args:
        stream: the joined fragments of the pixel element, positioned at the start.
        limits: limits on frame size and number of frames.
        display_name: name of the file in the error.

    Yields:
        RGB frames.

    Raises:
        ReadError: there is no video stream, or it exceeds the limits.
    """
    with ExitStack() as opened:
        try:
            container = opened.enter_context(open_media(stream, _FORMATS))
        except av.FFmpegError:
            container = None
        if container is None or not container.streams.video:
            raise ReadError(display_name, "holds no video stream", "export the clip again")
        track = container.streams.video[0]
        limits.check_frames((track.codec_context.height, track.codec_context.width), 1, display_name)
        for count, frame in enumerate(container.decode(track), start=1):
            limits.check_frames((frame.height, frame.width), count, display_name)
            yield frame.to_ndarray(format="rgb24")


def _locate_native(file: DicomFile, layout: PixelLayout) -> SeparateFrames:
    length = file.pixels.length or 0
    layout = without_shared_chroma(layout, length)
    frame_bytes = layout.native_frame_bytes
    held = min(length, file.size - file.pixels.offset)
    if held < frame_bytes * layout.frame_count:
        raise ReadError(
            file.display_name,
            f"claims {layout.frame_count} frames but holds the pixels of {held // frame_bytes}",
            "copy or export the file again",
        )
    flags = (ReadFlag.FRAME_COUNT_DISAGREES,) if length >= frame_bytes * (layout.frame_count + 1) else ()
    first = file.pixels.offset
    frames = [(Fragment(first + number * frame_bytes, frame_bytes),) for number in range(layout.frame_count)]
    return SeparateFrames(file, FrameDecoder(layout, file.dataset, file.display_name), frames, flags)


def _locate_compressed(file: DicomFile, layout: PixelLayout) -> SeparateFrames:
    name = file.display_name
    with clean_errors(name, "its compressed frames cannot be located"), file.open_bytes() as stream:
        limit = file.limits.max_frames * _FRAGMENTS_PER_FRAME
        index = index_fragments(stream, file.pixels.offset, limit, name)
        one_each = str(layout.transfer_syntax) == RLE
        frames = group_frames(index, stream, layout.frame_count, _extended_offsets(file), name, one_each=one_each)
    file.limits.check_frames(layout.size, len(frames), name)
    flags: tuple[ReadFlag, ...] = ()
    if len(frames) < layout.frame_count and index.truncated:
        flags = (ReadFlag.TRUNCATED,)
    elif len(frames) != layout.frame_count:
        flags = (ReadFlag.FRAME_COUNT_DISAGREES,)
    return SeparateFrames(file, FrameDecoder(layout, file.dataset, name), frames, flags)


def _extended_offsets(file: DicomFile) -> tuple[int, ...]:
    """ExtendedOffsetTable (7FE0,0001): 64-bit offsets for files larger than 4 GB."""
    table = value_of(file.dataset, "ExtendedOffsetTable")
    if not isinstance(table, bytes) or len(table) % 8:
        return ()
    return struct.unpack(f"<{len(table) // 8}Q", table)


def _sample_size(layout: PixelLayout) -> int:
    return max(1, min(_SAMPLED_FRAMES, _SAMPLED_PIXELS // (layout.height * layout.width)))
