"""Search for burned-in text with optical character recognition; what a text says is never kept or shown.

The recogniser is RapidOCR (Apache-2.0; its models are inside its package, nothing is downloaded), with the extra
``deidentify``. A clip is not read frame by frame: still text shows in the darkest value of each pixel over time, text
that comes and goes in the brightest value over a few frames. So every frame is covered by a picture that is read.

Speckle confuses the recogniser: of 36 names written into drawn and simulated fans it found 18. So it reads the strokes
of a picture: what is thin and clearly brighter than its surroundings (top-hat transform). There it found 35.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

Image = UInt8[np.ndarray, "height width ..."]
Mask = Bool[np.ndarray, "height width"]

LEAST_SCORE = 0.5
_MOST_BLOCKS = 6
_MARGIN_SHARE = 0.15
_MARGIN_PX = 2
_ENLARGED_BELOW_PX = 400
_LEAST_LETTERS = 2
_BORDER_PX = 12
_TALLEST_PX, _TALLEST_SHARE = 24, 0.12  # a line of text; whole walls and fans are sometimes taken for letters
_SAME_SHARE = 0.95
_STROKE_PX = 15
_LIT, _LIGHT_SCREEN = 8, 60
_LOW_DEVIATIONS, _HIGH_DEVIATIONS, _LEAST_CONTRAST = 1.5, 4.0, 10.0


class TextSearchError(RuntimeError):
    """The recogniser is not installed, or fails; the message says what to do."""


@dataclass(frozen=True)
class FoundText:
    """Where a text is: its box in whole pixels (x0, y0, x1, y1), and the confidence. What it says is not kept."""

    box_xyxy: tuple[int, int, int, int]
    score: float


class TextReader(Protocol):
    """Finds text in one picture."""

    def find(self, picture: Image) -> list[FoundText]:
        """The places of text in a grey or RGB picture."""
        ...


class RapidTextReader:
    """RapidOCR with the models of its package, on the processor.

    Raises:
        TextSearchError: it is not installed.
    """

    def __init__(self) -> None:
        try:
            import rapidocr
        except ImportError:
            raise TextSearchError(
                "the search for burned-in text needs RapidOCR; pip install 'echoapex[deidentify]', or give --no-ocr"
            ) from None
        logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
        self._engine: Any = rapidocr.RapidOCR(params={"Global.log_level": "critical"})

    def find(self, picture: Image) -> list[FoundText]:
        """The places of text: in the strokes of the picture, and in the picture itself where its screen is light.

        Raises:
            TextSearchError: the recogniser failed.
        """
        found = self.read_grey(strokes(picture))
        if np.median(picture) >= _LIGHT_SCREEN:
            grey = picture if picture.ndim == 2 else picture.max(axis=2)
            found += self.read_grey(grey)
        return found

    def read_grey(self, grey: UInt8[np.ndarray, "height width"]) -> list[FoundText]:
        """The places of text in a grey picture as it is; a small one is enlarged, because small letters are missed.

        Raises:
            TextSearchError: the recogniser failed.
        """
        height, width = grey.shape
        enlarge = 2 if max(height, width) < _ENLARGED_BELOW_PX else 1
        if enlarge > 1:
            grey = cv2.resize(grey, (width * enlarge, height * enlarge), interpolation=cv2.INTER_CUBIC)
        try:
            result = self._engine(cv2.cvtColor(np.ascontiguousarray(grey), cv2.COLOR_GRAY2BGR), use_cls=False)
        except Exception:  # its message may quote what it read
            raise TextSearchError("the search for burned-in text failed; try another version of rapidocr") from None
        if result.boxes is None or result.txts is None:
            return []
        found = []
        for corners, text, score in zip(result.boxes, result.txts, result.scores, strict=True):
            letters = sum(letter.isalnum() for letter in text)
            is_line = np.ptp(np.asarray(corners), axis=0).min() / enlarge <= max(_TALLEST_PX, _TALLEST_SHARE * height)
            if letters >= _LEAST_LETTERS and score >= LEAST_SCORE and is_line:
                found.append(FoundText(_box(np.asarray(corners) / enlarge, (height, width)), round(float(score), 2)))
        return found


class ClipSummary:
    """A few pictures that show the text of any frame: the first, the darkest, and the brightest of each block."""

    def __init__(self, frame_count: int) -> None:
        self._block = max(1, math.ceil(frame_count / _MOST_BLOCKS))
        self._first: Image | None = None
        self._darkest: Image | None = None
        self._brightest: list[Image] = []
        self._count = 0

    def add(self, frame: Image) -> None:
        """Take in the next frame."""
        if self._first is None or self._darkest is None:
            self._first = self._darkest = frame.copy()
        else:
            self._darkest = np.minimum(self._darkest, frame)
        if self._count % self._block == 0:
            self._brightest.append(frame.copy())
        else:
            np.maximum(self._brightest[-1], frame, out=self._brightest[-1])
        self._count += 1

    def pictures(self) -> list[Image]:
        """The pictures that cover every frame; one if there is one frame."""
        if self._first is None or self._darkest is None or self._count == 1:
            return [] if self._first is None else [self._first]
        extra = [self._first] if self._block > 1 else []
        return [self._darkest, *extra, *self._brightest]

    def overview(self) -> list[Image]:
        """Three pictures at most: the first frame, the darkest and the brightest value over the whole clip."""
        if self._first is None or self._darkest is None or self._count == 1:
            return self.pictures()
        return [self._first, self._darkest, np.maximum.reduce(self._brightest)]


def strokes(picture: Image) -> UInt8[np.ndarray, "height width"]:
    """What is thinner than a stroke of large letters and brighter than speckle is, as a grey picture on black."""
    grey = picture if picture.ndim == 2 else picture.max(axis=2)
    raised = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, np.ones((_STROKE_PX, _STROKE_PX), np.uint8)).astype(np.float32)
    lit = raised[grey > _LIT]
    if not lit.size:
        return np.zeros(grey.shape, np.uint8)
    deviation = float(lit.std())
    low = float(lit.mean()) + _LOW_DEVIATIONS * deviation
    found: UInt8[np.ndarray, "height width"] = np.clip(
        (raised - low) / (_HIGH_DEVIATIONS * deviation + _LEAST_CONTRAST) * 255, 0, 255
    ).astype(np.uint8)
    return found


def find_text(reader: TextReader, pictures: Iterable[Image], within: Mask | None = None) -> list[FoundText]:
    """Texts in any of the pictures, each once.

    Args:
        reader: the recogniser.
        pictures: pictures of one size.
        within: only the box around these pixels is read, which is faster.
    """
    found: list[FoundText] = []
    for picture in pictures:
        left, top, right, bottom = _bounds(within, (picture.shape[0], picture.shape[1]))
        part = picture[top:bottom, left:right]
        if not part.any():
            continue
        for text in reader.find(part):
            x0, y0, x1, y1 = text.box_xyxy
            box = (x0 + left, y0 + top, x1 + left, y1 + top)
            if not any(_is_same(box, other.box_xyxy) for other in found):
                found.append(FoundText(box, text.score))
    return sorted(found, key=lambda text: (text.box_xyxy[1], text.box_xyxy[0]))


def text_mask(found: Sequence[FoundText], size: tuple[int, int]) -> Mask:
    """The pixels of the texts."""
    mask = np.zeros(size, bool)
    for text in found:
        x0, y0, x1, y1 = text.box_xyxy
        mask[y0:y1, x0:x1] = True
    return mask


def _box(corners: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The upright box around four corners, with a margin for what the recogniser cuts off."""
    (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
    margin = _MARGIN_PX + _MARGIN_SHARE * min(x1 - x0, y1 - y0)
    height, width = size
    left, top = max(0, math.floor(x0 - margin)), max(0, math.floor(y0 - margin))
    return (left, top, min(width, math.ceil(x1 + margin)), min(height, math.ceil(y1 + margin)))


def _bounds(within: Mask | None, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box around some pixels, with a border; the whole picture without them."""
    height, width = size
    if within is None or not within.any():
        return (0, 0, width, height)
    columns, rows = np.flatnonzero(within.any(axis=0)), np.flatnonzero(within.any(axis=1))
    left, top = max(0, int(columns[0]) - _BORDER_PX), max(0, int(rows[0]) - _BORDER_PX)
    return (left, top, min(width, int(columns[-1]) + 1 + _BORDER_PX), min(height, int(rows[-1]) + 1 + _BORDER_PX))


def _is_same(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Whether the first box lies almost completely in the other, so that blanking the other is enough."""
    width, height = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    area = (one[2] - one[0]) * (one[3] - one[1])
    return width > 0 and height > 0 and width * height >= _SAME_SHARE * area
