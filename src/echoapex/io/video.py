"""Clips from video files (AVI, MP4, MOV, Matroska, GIF), decoded by PyAV frame by frame.

A video file carries no calibration and no patient. Its frame times are its presentation times: those of the export,
which need not be those of the acquisition; nothing in the file could tell. The first pass, which counts the frames,
runs in a process apart with limits, since nobody can vouch for every decoder of FFmpeg; what it decoded once is decoded
here the second time.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from echoapex.domain import ClipHeader
from echoapex.io.clip_source import ReadError, ReadFlag, ReadLimits
from echoapex.io.content import content_of_pixels
from echoapex.io.decoder_process import Task, run_apart
from echoapex.io.dicom_values import clean_errors
from echoapex.io.ffmpeg_input import open_media
from echoapex.io.file_format import HEAD_BYTES, FileFormat, recognise
from echoapex.io.frame_times import NOMINAL_RATE_HZ
from echoapex.io.media_structure import read_promise
from echoapex.io.plain_file import file_digest

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
# an MPEG-4 encoder that says so packs two pictures into one packet, and its file promises one frame too many
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
        """Decode from the first frame on; memory holds one frame.

        Raises:
            ReadError: the file changed or cannot be opened any more.
        """
        with closing(_decode(self.path, self.display_name, self.limits)) as decoded:
            for frame in islice(decoded, self.header.frame_count):
                with clean_errors(self.display_name, "its video stream cannot be decoded"):
                    pixels = frame.to_ndarray(format="gray" if frame.format.name in _GREY_FORMATS else "rgb24")
                yield pixels


def open_video(path: Path, *, display_name: str | None = None, limits: ReadLimits | None = None) -> VideoSource:
    """Open a video file.

    The stream is decoded once to count its frames, since containers often promise more than they hold; what follows
    a break is left out and the clip is flagged ``truncated``.

    Raises:
        ReadError: the file is empty, is no video, holds no decodable frame, or exceeds the limits.
    """
    name = display_name or path.name
    limits = limits or ReadLimits()
    digest = file_digest(path, name)
    with clean_errors(name, "cannot be read"):
        size = path.stat().st_size
    scan = run_apart(Task(name, "its video stream cannot be decoded", size), scan_video, path.absolute(), name, limits)
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
    """What one pass over the stream tells."""

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
        """Whether a container that counts no frames promises a longer clip."""
        last = self.times_s[-1]
        if self.promised_frames or self.duration_s is None or last is None or not self.rate_hz:
            return False
        return last - (self.times_s[0] or 0.0) + 1.6 / self.rate_hz < self.duration_s


def scan_video(path: Path, name: str, limits: ReadLimits) -> Scan:
    """Decode a video once, keeping a sample; runs in the decoder process.

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


class _BrokenStreamError(Exception):
    """The stream ends in an error after some good frames."""


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


def _frame_times(scan: Scan) -> tuple[tuple[float, ...], bool]:
    """Presentation times from 0; where they are missing or do not increase, the average rate, else a nominal one."""
    times = np.array([np.nan if time is None else time for time in scan.times_s])
    if len(times) == 1:
        return (0.0,), True
    if np.isfinite(times).all() and (np.diff(times) > 0).all():
        return tuple(float(time) for time in times - times[0]), True
    rate_is_known = scan.rate_hz is not None and 1 <= scan.rate_hz <= 1000
    rate_hz = scan.rate_hz if rate_is_known and scan.rate_hz else NOMINAL_RATE_HZ
    return tuple(index / rate_hz for index in range(len(times))), rate_is_known
