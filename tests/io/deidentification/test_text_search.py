"""The pictures that are read, the places that are found, and the real recogniser."""

from __future__ import annotations

import builtins
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
from deidentified import BrightBoxReader

from echoapex.io.deidentification.text_search import (
    ClipSummary,
    FoundText,
    RapidTextReader,
    TextSearchError,
    find_text,
    strokes,
    text_mask,
)

NAME = "QUARTZ AURELIA"


@pytest.fixture(scope="module")
def reader() -> RapidTextReader:
    pytest.importorskip("rapidocr", reason="rapidocr is not installed; it comes with the extra 'deidentify'")
    return RapidTextReader()


def speckle(count: int = 1, size: tuple[int, int] = (360, 480)) -> np.ndarray:
    rng = np.random.default_rng(1)
    noise = cv2.GaussianBlur(rng.rayleigh(55, (*size, count)), (0, 0), 1.3).reshape(*size, count)
    return np.ascontiguousarray(np.clip(noise, 0, 200).astype(np.uint8).transpose(2, 0, 1))


def write(frame: np.ndarray, text: str = NAME, scale: float = 0.8) -> tuple[int, int, int, int]:
    """Write a text; its box."""
    (width, height), below = cv2.getTextSize(text, 0, scale, 2)
    cv2.putText(frame, text, (60, 200), 0, scale, 255, 2, cv2.LINE_AA)
    return (60, 200 - height, 60 + width, 200 + below)


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 40])
def test_every_frame_is_in_a_picture_that_is_read(count: int) -> None:
    for marked in {0, count // 2, count - 1}:
        summary = ClipSummary(count)
        for number in range(count):
            frame = np.full((20, 30), 10, np.uint8)
            frame[3:6, 4:9] = 254 if number == marked else 10
            summary.add(frame)
        assert len(summary.pictures()) <= 8
        assert find_text(BrightBoxReader(), summary.pictures()) == [FoundText((4, 3, 9, 6), 0.9)]
        assert find_text(BrightBoxReader(), summary.overview()) == [FoundText((4, 3, 9, 6), 0.9)]


def test_still_text_shows_in_the_darkest_picture() -> None:
    frames = speckle(8)
    for frame in frames:
        write(frame)
    summary = ClipSummary(len(frames))
    for frame in frames:
        summary.add(frame)
    darkest = summary.pictures()[0]
    assert darkest[210:].mean() < frames[0][210:].mean() / 1.15
    assert darkest.max() == 255


def test_only_the_part_that_stays_is_read() -> None:
    picture = np.zeros((200, 300), np.uint8)
    picture[50:60, 100:140] = 254
    within = np.zeros((200, 300), bool)
    within[40:80, 90:150] = True
    reader = BrightBoxReader()
    assert find_text(reader, [picture], within) == [FoundText((100, 50, 140, 60), 0.9)]
    assert reader.seen[0].shape == (40 + 24, 60 + 24)


def test_the_mask_of_texts_is_their_boxes() -> None:
    mask = text_mask([FoundText((2, 3, 5, 7), 1.0), FoundText((8, 0, 9, 1), 1.0)], (10, 12))
    assert mask.sum() == 3 * 4 + 1
    assert mask[3:7, 2:5].all()


@pytest.mark.parametrize("level", [255, 200, 150])
def test_strokes_are_what_is_brighter_than_speckle_and_thin(level: int) -> None:
    (frame,) = np.minimum(speckle(), 110)
    frame[20:80, 300:440] = 105  # a bright wall is no stroke
    plain = strokes(frame)
    cv2.putText(frame, NAME, (60, 200), 0, 0.8, level, 2, cv2.LINE_AA)
    written = strokes(frame)
    assert (plain > 128).mean() < 0.03
    assert (written[frame == level] > 128).mean() > 0.9
    assert not (written[30:70, 310:430] > 128).any()
    assert not strokes(np.zeros((20, 30, 3), np.uint8)).any()


def test_a_name_is_found_where_it_is(reader: RapidTextReader) -> None:
    (frame,) = speckle()
    assert reader.find(frame) == []
    x0, y0, x1, y1 = write(frame)

    found = text_mask(reader.find(frame), (360, 480))

    assert found[y0:y1, x0:x1].mean() > 0.95
    assert found.sum() < 4 * (x1 - x0) * (y1 - y0)


def test_what_is_taller_than_a_line_of_text_is_none(reader: RapidTextReader, monkeypatch: pytest.MonkeyPatch) -> None:
    class Result:
        boxes: ClassVar = [
            np.array([[9, 9], [300, 9], [300, 200], [9, 200]]),
            np.array([[9, 9], [90, 9], [90, 29], [9, 29]]),
        ]
        txts, scores = ("MM", "QUARTZ"), (0.9, 0.8)

    monkeypatch.setattr(reader, "_engine", lambda *_, **__: Result())
    (found,) = reader.find(np.zeros((400, 500), np.uint8))
    assert found.score == 0.8


def test_what_the_text_says_is_not_kept(reader: RapidTextReader, capfd: pytest.CaptureFixture[str]) -> None:
    (frame,) = speckle()
    write(frame)
    found = reader.find(np.dstack([frame] * 3))
    assert found
    assert "QUARTZ" not in repr(found).upper()
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""


def test_without_the_recogniser_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "rapidocr":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(TextSearchError, match=r"pip install 'echoapex\[deidentify\]', or give --no-ocr"):
        RapidTextReader()


def test_a_failing_recogniser_is_one_line_without_what_it_read(
    reader: RapidTextReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError(NAME)

    monkeypatch.setattr(reader, "_engine", fail)
    with pytest.raises(TextSearchError) as caught:
        reader.find(np.zeros((50, 60), np.uint8))
    assert NAME not in str(caught.value)
    assert caught.value.__suppress_context__
