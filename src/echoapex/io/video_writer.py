"""Write RGB frames as a video, one at a time: an MP4 that every player shows (H.264, 4:2:0), or an AVI (MJPEG)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream
from jaxtyping import UInt8

from echoapex.domain.geometry import Size
from echoapex.io.atomic_file import replace_when_complete

WriteFrame = Callable[[UInt8[np.ndarray, "height width 3"]], None]

SLOWEST_HZ, FASTEST_HZ = 1.0, 120.0
_CODECS = (("libx264", {"crf": "22", "preset": "superfast"}), ("mpeg4", {"qscale": "3"}))
_AVI_CODECS = (("mjpeg", {"qmin": "1", "qmax": "2"}),)


class VideoWriteError(ValueError):
    """A video that cannot be written; the message says why."""


@contextmanager
def open_video_writer(path: Path, size: Size, rate_hz: float) -> Iterator[WriteFrame]:
    """Give a function that appends one RGB frame; the file appears complete when the block ends without an error.

    Args:
        path: the .mp4 file; with the suffix .avi an AVI, as public data sets distribute them.
        size: (height, width) in pixels, both even, as 4:2:0 colour needs.
        rate_hz: frames per second of playback, held between 1 and 120.

    Raises:
        VideoWriteError: an odd size, or a frame of another size.
    """
    height, width = size
    if height % 2 or width % 2 or min(size) < 2:
        raise VideoWriteError(f"{path.name}: a video of {width} x {height} pixels; both must be even and positive")
    rate = Fraction(float(np.clip(rate_hz, SLOWEST_HZ, FASTEST_HZ))).limit_denominator(1000)
    is_avi = path.suffix.lower() == ".avi"
    codec, options = next(
        (name, options) for name, options in (_AVI_CODECS if is_avi else _CODECS) if name in av.codecs_available
    )
    with (
        replace_when_complete(path) as partial,
        av.open(
            f"file:{partial.absolute()}",  # FFmpeg would take a relative name for an address
            "w",
            format="avi" if is_avi else "mp4",
            options={} if is_avi else {"movflags": "+faststart"},
        ) as container,
    ):
        stream = cast(VideoStream, container.add_stream(codec, rate=rate, options=options))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p" if is_avi else "yuv420p"
        # one encoder thread: its output is then the same on every machine
        stream.codec_context.thread_count = 1

        def write(frame: UInt8[np.ndarray, "height width 3"]) -> None:
            if frame.shape != (height, width, 3):
                raise VideoWriteError(f"{path.name}: a frame of {frame.shape} in a video of {height, width, 3}")
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))

        yield write
        container.mux(stream.encode(None))
