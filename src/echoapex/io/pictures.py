"""Colours and letters of the pictures: dark, quiet, one colour per structure that the colour-blind can tell apart.

Write RGB frames as a video, one at a time: an MP4 that every player shows (H.264, 4:2:0), or an AVI (MJPEG).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
from av.video.stream import VideoStream
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from echoapex.domain.geometry import Size
from echoapex.io.temporary_files import replace_when_complete
from echoapex.vocabulary import Structure

Colour = tuple[int, int, int]
Pixels = UInt8[np.ndarray, "height width 3"]

BACKGROUND: Colour = (14, 17, 22)
PANEL: Colour = (23, 27, 34)
RULE: Colour = (48, 54, 64)
TEXT: Colour = (232, 236, 241)
MUTED: Colour = (146, 155, 168)
WARNING: Colour = (240, 180, 76)
ED_COLOUR: Colour = (96, 200, 255)
ES_COLOUR: Colour = (255, 140, 120)

# after Okabe & Ito, Color Universal Design, 2008; lightened for a black ground
STRUCTURE_COLOURS: dict[Structure, Colour] = {
    Structure.LV_CAVITY: (86, 190, 255),
    Structure.LV_MYOCARDIUM: (255, 176, 46),
    Structure.LEFT_ATRIUM: (236, 130, 190),
    Structure.RIGHT_VENTRICLE: (48, 200, 150),
    Structure.RIGHT_ATRIUM: (178, 150, 255),
    Structure.AORTIC_ROOT: (245, 230, 90),
}
WALL_COLOUR: Colour = (255, 255, 255)


class Line(NamedTuple):
    """A piece of text: where its upper left corner lies, how large and in which colour."""

    x: int
    y: int
    text: str
    size: int = 14
    colour: Colour = TEXT


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The typeface that comes with Pillow (Aileron), so that pictures look the same on every machine."""
    return ImageFont.load_default(size)


def text_width(text: str, size: int) -> int:
    """Width of a text in pixels."""
    return round(font(size).getlength(text))


def shortened(text: str, size: int, width: int) -> str:
    """The text, cut in its middle where it is wider than ``width`` pixels."""
    if text_width(text, size) <= width:
        return text
    keep = len(text) - 1
    while keep > 2 and text_width(f"{text[: keep // 2]}…{text[-(keep // 2) :]}", size) > width:
        keep -= 1
    return f"{text[: keep // 2]}…{text[-(keep // 2) :]}"


def write_lines(pixels: Pixels, lines: list[Line]) -> Pixels:
    """A copy of the picture with the text on it."""
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    for line in lines:
        pen.text((line.x, line.y), line.text, font=font(line.size), fill=line.colour)
    return np.asarray(picture)


def blank(height: int, width: int, colour: Colour = BACKGROUND) -> Pixels:
    """A picture of one colour."""
    return np.full((height, width, 3), colour, np.uint8)


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
