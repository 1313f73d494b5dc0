"""Colours and letters of the pictures: dark, quiet, one colour per structure that the colour-blind can tell apart."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

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
