"""Clips from video files (AVI, MP4, MOV, Matroska, GIF), decoded by PyAV frame by frame.

A video file carries no calibration and no patient. Its frame times are its presentation times: those of the export,
which need not be those of the acquisition; nothing in the file could tell.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from echoapex.io.dicom_values import clean_errors
from echoapex.io.frame_times import NOMINAL_RATE_HZ
from echoapex.io.plain_file import file_digest

NO_CALIBRATION = "video files carry no calibration"

_GREY_FORMATS = ("gray", "gray8")
_COLOUR_SAMPLE = 8


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
        decoded = _decode(self.path, self.display_name, self.limits)
        for frame in islice(decoded, self.header.frame_count):
            yield frame.to_ndarray(format="gray" if frame.format.name in _GREY_FORMATS else "rgb24")


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
    scan = _scan(path, name, limits)
    times, known = _frame_times(scan)
    content = content_of_pixels(scan.sample)
    header = ClipHeader(
        clip_id=digest[:16],
        size=scan.size,
        frame_times_s=times,
        frame_times_known=known,
        spacing_reason=NO_CALIBRATION,
        flags=(ReadFlag.TRUNCATED,) if scan.is_broken else (),
        source={"format": scan.container, "sha256": digest},
        content=content.kind,
        content_reason=content.reason,
        colour_box_xyxy=content.colour_box_xyxy,
        sector=content.sector,
    )
    return VideoSource(path, name, header, limits)


@dataclass
class _Scan:
    """What one pass over the stream tells."""

    container: str
    size: tuple[int, int]
    times_s: list[float | None]
    rate_hz: float | None
    promised_frames: int
    sample: list[UInt8[np.ndarray, "height width *channels"]]
    is_broken: bool = False


def _scan(path: Path, name: str, limits: ReadLimits) -> _Scan:
    scan = _Scan("video", (0, 0), [], None, 0, [])
    try:
        for frame in _decode(path, name, limits, scan):
            scan.size = scan.size if scan.times_s else (frame.height, frame.width)
            if (frame.height, frame.width) != scan.size:
                scan.is_broken = True
                break
            limits.check_frames(scan.size, len(scan.times_s) + 1, name)
            scan.times_s.append(frame.time)
            if len(scan.times_s) % 5 == 1 and len(scan.sample) < _COLOUR_SAMPLE:
                scan.sample.append(frame.to_ndarray(format="rgb24"))
    except _BrokenStreamError:
        scan.is_broken = True
    # encoders that pack two pictures into one packet promise one frame too many
    scan.is_broken |= len(scan.times_s) + 1 < scan.promised_frames
    if not scan.times_s:
        raise ReadError(name, "no frame of the video can be decoded", "check that the file is whole, or export again")
    return scan


class _BrokenStreamError(Exception):
    """The stream ends in an error after some good frames."""


def _decode(path: Path, name: str, limits: ReadLimits, scan: _Scan | None = None) -> Iterator[Any]:
    """Decoded frames in display order, up to the first error."""
    with clean_errors(name, "is no readable video"):
        container = av.open(str(path), mode="r")
    with container:
        if not container.streams.video:
            raise ReadError(name, "holds no video stream", "give a file with an ultrasound clip")
        track = container.streams.video[0]
        context = track.codec_context
        if context is None:
            raise ReadError(name, "is coded in a way that this installation cannot decode", "export as H.264 or MJPEG")
        limits.check_frames((context.height or 1, context.width or 1), 1, name)
        context.options = {"max_pixels": str(limits.max_frame_pixels)}
        track.thread_type = "AUTO"
        if scan is not None:
            scan.container = container.format.name.split(",")[0]
            scan.promised_frames = track.frames
            scan.rate_hz = float(track.average_rate) if track.average_rate else None
        try:
            yield from container.decode(track)
        except (av.FFmpegError, ValueError, MemoryError):
            failed = True
        else:
            failed = False
    if failed and scan is not None:
        raise _BrokenStreamError


def _frame_times(scan: _Scan) -> tuple[tuple[float, ...], bool]:
    """Presentation times from 0; where they are missing or do not increase, the average rate, else a nominal one."""
    times = np.array([np.nan if time is None else time for time in scan.times_s])
    if len(times) == 1:
        return (0.0,), True
    if np.isfinite(times).all() and (np.diff(times) > 0).all():
        return tuple(float(time) for time in times - times[0]), True
    rate_is_known = scan.rate_hz is not None and 1 <= scan.rate_hz <= 1000
    rate_hz = scan.rate_hz if rate_is_known and scan.rate_hz else NOMINAL_RATE_HZ
    return tuple(index / rate_hz for index in range(len(times))), rate_is_known
