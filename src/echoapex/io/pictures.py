"""Draw pictures and write videos: colours, text, and MP4 or AVI files that are written one RGB frame at a time.

The colours are dark and calm, with one colour per structure that colour-blind people can tell apart. An MP4 (H.264,
4:2:0) plays everywhere; an AVI uses MJPEG.
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

from echoapex.domain.clip import Size
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

# after Okabe & Ito, Color Universal Design, 2008; lightened for a black background
STRUCTURE_COLOURS: dict[Structure, Colour] = {
    Structure.LV_CAVITY: (86, 190, 255),
    Structure.LV_MYOCARDIUM: (255, 176, 46),
    Structure.LEFT_ATRIUM: (236, 130, 190),
    Structure.RIGHT_VENTRICLE: (48, 200, 150),
    Structure.RIGHT_ATRIUM: (178, 150, 255),
    Structure.AORTIC_ROOT: (245, 230, 90),
}
WALL_COLOUR: Colour = (255, 255, 255)

WriteFrame = Callable[[UInt8[np.ndarray, "height width 3"]], None]

SLOWEST_HZ, FASTEST_HZ = 1.0, 120.0
_CODECS = (("libx264", {"crf": "22", "preset": "superfast"}), ("mpeg4", {"qscale": "3"}))
_AVI_CODECS = (("mjpeg", {"qmin": "1", "qmax": "2"}),)


class Line(NamedTuple):
    """A line of text: position of its upper left corner, size and colour."""

    x: int
    y: int
    text: str
    size: int = 14
    colour: Colour = TEXT


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's built-in typeface (Aileron), so that pictures look the same on every machine."""
    return ImageFont.load_default(size)


def text_width(text: str, size: int) -> int:
    """Width of a text in pixels."""
    return round(font(size).getlength(text))


def shortened(text: str, size: int, width: int) -> str:
    """The text, shortened in the middle if it is wider than ``width`` pixels."""
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


class VideoWriteError(ValueError):
    """The video cannot be written; the message says why."""


@contextmanager
def open_video_writer(path: Path, size: Size, rate_hz: float) -> Iterator[WriteFrame]:
    """Open a video; the returned function appends one RGB frame. The file appears when the block ends without error.

    Args:
        path: the .mp4 file; with the suffix .avi an AVI is written, as in public data sets.
        size: (height, width) in pixels; both even, because 4:2:0 colour requires it.
        rate_hz: frames per second of playback, limited to 1 to 120.

    Raises:
        VideoWriteError: the size is odd, or a frame has another size.
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
            f"file:{partial.absolute()}",  # FFmpeg could take a relative name for a URL
            "w",
            format="avi" if is_avi else "mp4",
            options={} if is_avi else {"movflags": "+faststart"},
        ) as container,
    ):
        stream = cast(VideoStream, container.add_stream(codec, rate=rate, options=options))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p" if is_avi else "yuv420p"
        # one encoder thread, so that the output is the same on every machine
        stream.codec_context.thread_count = 1

        def write(frame: UInt8[np.ndarray, "height width 3"]) -> None:
            if frame.shape != (height, width, 3):
                raise VideoWriteError(f"{path.name}: a frame of {frame.shape} in a video of {height, width, 3}")
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))

        yield write
        container.mux(stream.encode(None))
