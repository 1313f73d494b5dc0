"""Frames of a video stream inside DICOM (MPEG-2, MPEG-4 AVC, HEVC; PS3.5 section 8.2.5 on), by PyAV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from jaxtyping import UInt8

from echoapex.io.clip_source import ReadError, ReadLimits
from echoapex.io.dicom_fragments import Fragment, FragmentStream
from echoapex.io.dicom_values import clean_errors
from echoapex.io.ffmpeg_input import open_media

_FORMATS = ("mpeg", "mpegvideo", "mpegts", "mov,mp4,m4a,3gp,3g2,mj2", "h264", "hevc", "m4v")


def decode_video(
    stream: FragmentStream, limits: ReadLimits, display_name: str
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Decode a stream frame by frame, in display order.

    Args:
        stream: the joined fragments of the pixel element, at their start.
        limits: size and count that the stream may not exceed.
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


class StreamSize(NamedTuple):
    """What one pass over a stream found: how many frames, and some of them."""

    frame_count: int
    sample: tuple[UInt8[np.ndarray, "height width 3"], ...]


class StreamPlace(NamedTuple):
    """Where a stream lies: the file, the fragments in it, and what errors call it."""

    path: Path
    fragments: Sequence[Fragment]
    display_name: str


def count_frames(place: StreamPlace, limits: ReadLimits, stride: int, wanted: int) -> StreamSize:
    """Decode a stream once, keeping every ``stride``-th frame up to ``wanted``; runs in the decoder process.

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
