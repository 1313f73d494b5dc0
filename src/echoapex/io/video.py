"""Clips from video files (AVI, MP4, MOV, Matroska, GIF), decoded frame by frame with PyAV.

A video file has no calibration and no patient data. Its frame times are presentation times of the export, which may
differ from the acquisition times; the file does not say. The first pass counts the frames. It runs in the decoder
process with limits, because not every decoder of FFmpeg is safe with damaged files. After it has decoded a file once,
the file is decoded in this process.

FFmpeg interprets a name such as ``http:...`` or ``pipe:0`` as an address, and some formats (playlists) contain
addresses. Therefore it gets an opened file, a list of allowed formats, and no protocol. This module is the only place
that reads with FFmpeg's demuxers.

Demuxers take the end of a file for the end of the clip. So the sizes in the container are compared with the file,
without decoding: RIFF (AVI), ISO base media boxes (MP4, MOV), EBML (Matroska) and the blocks of a GIF. This shows
whether the file ends early, and how many pictures it promises.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from io import RawIOBase
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import av
import numpy as np
from jaxtyping import UInt8

from echoapex.domain import ClipHeader
from echoapex.io.calibration import NOMINAL_RATE_HZ
from echoapex.io.clip_source import ReadError, ReadFlag, ReadLimits, clean_errors
from echoapex.io.content import content_of_pixels
from echoapex.io.file_format import HEAD_BYTES, FileFormat, file_digest, recognise
from echoapex.io.processes import DecodingTask, run_apart

_READ_BYTES = 1 << 18
_NO_PROTOCOL = "none"

_MOST_BOXES = 100_000
_SEGMENT = 0x18538067
_UNKNOWN_RIFF_SIZES = (0, 0xFFFFFFFF)

NO_CALIBRATION = "video files carry no calibration"

_GREY_FORMATS = ("gray", "gray8")
_COLOUR_SAMPLE = 8
_MOST_THREADS = 4
_DEMUXERS = {
    FileFormat.AVI: "avi",
    FileFormat.MP4: "mov",
    FileFormat.MATROSKA: "matroska",
    FileFormat.GIF: "gif",
}
# this text marks MPEG-4 encoders that pack two pictures into one packet; the file then promises one frame too many
_PACKED_PICTURES = re.compile(rb"DivX\d+(?:b|Build)\d+p")
_PACKED_SEARCH_BYTES = 1 << 18


@dataclass(frozen=True, eq=False)
class VideoSource:
    """A clip in a video file."""

    path: Path
    display_name: str
    header: ClipHeader
    limits: ReadLimits

    def frames(self) -> Iterator[UInt8[np.ndarray, "height width *channels"]]:
        """Decode the frames one at a time, from the first.

        Raises:
            ReadError: the file has changed or cannot be opened any more.
        """
        with closing(_decode(self.path, self.display_name, self.limits)) as decoded:
            for frame in islice(decoded, self.header.frame_count):
                with clean_errors(self.display_name, "its video stream cannot be decoded"):
                    pixels = frame.to_ndarray(format="gray" if frame.format.name in _GREY_FORMATS else "rgb24")
                yield pixels


def open_video(path: Path, *, display_name: str | None = None, limits: ReadLimits | None = None) -> VideoSource:
    """Open a video file.

    The stream is decoded once to count its frames, because containers often promise more than they hold. If the stream
    breaks, the rest is left out and the clip is flagged ``truncated``.

    Raises:
        ReadError: the file is empty, is not a video, has no decodable frame, or exceeds the limits.
    """
    name = display_name or path.name
    limits = limits or ReadLimits()
    digest = file_digest(path, name)
    with clean_errors(name, "cannot be read"):
        size = path.stat().st_size
    scan = run_apart(
        DecodingTask(name, "its video stream cannot be decoded", size), scan_video, path.absolute(), name, limits
    )
    with clean_errors(name, "cannot be understood"):
        times, known = _frame_times(scan)
        content = content_of_pixels(scan.sample)
        header = ClipHeader(
            clip_id=digest[:16],
            size=scan.size,
            frame_times_s=times,
            frame_times_known=known,
            spacing_reason=NO_CALIBRATION,
            flags=scan.flags,
            source={"format": scan.container, "sha256": digest},
            content=content.kind,
            content_reason=content.reason,
            colour_box_xyxy=content.colour_box_xyxy,
            sector=content.sector,
        )
    return VideoSource(path, name, header, limits)


@dataclass
class Scan:
    """Result of decoding the stream once."""

    container: str
    size: tuple[int, int]
    times_s: list[float | None]
    rate_hz: float | None
    promised_frames: int
    sample: list[UInt8[np.ndarray, "height width *channels"]]
    duration_s: float | None = None
    ends_early: bool = False
    is_broken: bool = False

    @property
    def flags(self) -> tuple[ReadFlag, ...]:
        """What is wrong with the stream."""
        if self.is_broken or self.ends_early:
            return (ReadFlag.TRUNCATED,)
        is_short = len(self.times_s) < self.promised_frames or self._ends_before_its_duration()
        return (ReadFlag.FRAME_COUNT_DISAGREES,) if is_short else ()

    def _ends_before_its_duration(self) -> bool:
        """Whether the container gives no frame count but promises a longer clip."""
        last = self.times_s[-1]
        if self.promised_frames or self.duration_s is None or last is None or not self.rate_hz:
            return False
        return last - (self.times_s[0] or 0.0) + 1.6 / self.rate_hz < self.duration_s


def scan_video(path: Path, name: str, limits: ReadLimits) -> Scan:
    """Decode a video once and keep a sample of frames; runs in the decoder process.

    Raises:
        ReadError: as :func:`open_video`.
    """
    scan = Scan("video", (0, 0), [], None, 0, [])
    try:
        for frame in _decode(path, name, limits, scan):
            scan.size = scan.size if scan.times_s else (frame.height, frame.width)
            if (frame.height, frame.width) != scan.size:
                scan.is_broken = True
                break
            limits.check_frames(scan.size, len(scan.times_s) + 1, name)
            if len(scan.times_s) % 5 == 0 and len(scan.sample) < _COLOUR_SAMPLE:
                scan.sample.append(frame.to_ndarray(format="rgb24"))
            scan.times_s.append(frame.time)
            scan.is_broken |= bool(frame.is_corrupt)
    except _BrokenStreamError:
        scan.is_broken = True
    if not scan.times_s:
        raise ReadError(name, "no frame of the video can be decoded", "check that the file is whole, or export again")
    return scan


class Promise(NamedTuple):
    """What a media file promises: ``ends_early`` if it is shorter; ``pictures`` if its structure counts them."""

    ends_early: bool
    pictures: int | None = None


def read_promise(stream: BinaryIO, found: FileFormat) -> Promise:
    """Compare a media file with its own structure; the stream is reset to its start."""
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    promise = _READERS[found](stream, size)
    stream.seek(0)
    return promise


@contextmanager
def open_media(stream: BinaryIO | RawIOBase, formats: Sequence[str]) -> Iterator[Any]:
    """Open a container for decoding.

    Args:
        stream: the bytes, positioned at the start; seekable.
        formats: FFmpeg's names of the formats to try; a single one is used without detection.

    Raises:
        av.FFmpegError: the bytes are in none of the formats.
    """
    options = {"format_whitelist": ",".join(formats), "protocol_whitelist": _NO_PROTOCOL}
    only = formats[0] if len(formats) == 1 else None
    with av.open(
        cast(Any, stream), mode="r", format=only, options=options, buffer_size=_READ_BYTES, io_open=_refuse
    ) as container:
        yield container


def _decode(path: Path, name: str, limits: ReadLimits, scan: Scan | None = None) -> Generator[Any, None, None]:
    """Decoded frames in display order, up to the first error."""
    with ExitStack() as opened:
        with clean_errors(name, "is no readable video"):
            stream = opened.enter_context(path.open("rb"))
            found = recognise(stream.read(HEAD_BYTES))
            if found not in _DEMUXERS:
                raise ReadError(name, "is no AVI, MP4, Matroska or GIF file", "check the file, or export it again")
            promise = read_promise(stream, found)
            is_packed = _PACKED_PICTURES.search(stream.read(_PACKED_SEARCH_BYTES)) is not None
            stream.seek(0)
            container = opened.enter_context(open_media(stream, [_DEMUXERS[found]]))
        try:
            yield from _frames(container, name, limits, scan)
        except ReadError:
            raise
        except (av.FFmpegError, ValueError, MemoryError):
            failed = True
        else:
            failed = False
    if scan is not None:
        scan.ends_early = promise.ends_early
        scan.promised_frames = max(scan.promised_frames - is_packed, promise.pictures or 0)
        if failed:
            raise _BrokenStreamError


def _frames(container: Any, name: str, limits: ReadLimits, scan: Scan | None) -> Iterator[Any]:
    if not container.streams.video:
        raise ReadError(name, "holds no video stream", "give a file with an ultrasound clip")
    track = container.streams.video[0]
    context = track.codec_context
    if context is None:
        raise ReadError(name, "is coded in a way that this installation cannot decode", "export as H.264 or MJPEG")
    limits.check_frames((context.height or 1, context.width or 1), 1, name)
    context.options = {"max_pixels": str(limits.max_frame_pixels)}
    track.thread_type = "AUTO"
    context.thread_count = _MOST_THREADS
    if scan is not None:
        scan.container = container.format.name.split(",")[0]
        scan.promised_frames = track.frames
        scan.rate_hz = float(track.average_rate) if track.average_rate else None
        scan.duration_s = container.duration / av.time_base if container.duration else None
    yield from container.decode(track)


class _BrokenStreamError(Exception):
    """The stream breaks with an error after some good frames."""


def _frame_times(scan: Scan) -> tuple[tuple[float, ...], bool]:
    """Presentation times from 0; if they are missing or do not increase, the average rate, else a nominal rate."""
    times = np.array([np.nan if time is None else time for time in scan.times_s])
    if len(times) == 1:
        return (0.0,), True
    if np.isfinite(times).all() and (np.diff(times) > 0).all():
        return tuple(float(time) for time in times - times[0]), True
    rate_is_known = scan.rate_hz is not None and 1 <= scan.rate_hz <= 1000
    rate_hz = scan.rate_hz if rate_is_known and scan.rate_hz else NOMINAL_RATE_HZ
    return tuple(index / rate_hz for index in range(len(times))), rate_is_known


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
        if length == 0:  # up to the end of the file
            return Promise(False)
        if length < 8:  # not a box: stray bytes after the last one
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
            break  # damaged: the rest cannot be counted
        if end is None:
            break
        position = end
    return Promise(True, pictures)


_READERS: dict[FileFormat, Callable[[BinaryIO, int], Promise]] = {
    FileFormat.AVI: _read_avi,
    FileFormat.MP4: _read_iso_media,
    FileFormat.MATROSKA: _read_matroska,
    FileFormat.GIF: _read_gif,
}


def _colour_table_bytes(packed: bytes) -> int:
    return 3 << (packed[0] & 7) + 1 if packed[0] & 0x80 else 0


def _after_sub_blocks(stream: BinaryIO, position: int, size: int) -> int | None:
    """The position after a chain of sub-blocks; None if the file ends within it."""
    while position < size:
        stream.seek(position)
        length = stream.read(1)[0]
        position += 1 + length
        if not length:
            return position
    return None


def _refuse(url: str, flags: int, options: dict[str, str]) -> Any:
    """Refuse to open another file."""
    raise PermissionError("a media file may not open another one")
