"""A clip is valid from birth and cannot be changed."""

import numpy as np
import pytest

from echoapex.domain import Clip, ClipHeader, Sector, Spacing


def header(**changes) -> ClipHeader:
    values = {"clip_id": "c", "size": (6, 8), "frame_times_s": (0.0, 0.02), "spacing": Spacing(0.3, 0.3)}
    return ClipHeader(**{**values, **changes})


@pytest.mark.parametrize("channels", [(), (3,)])
def test_frames_are_read_only(channels: tuple[int, ...]) -> None:
    pixels = np.zeros((2, 6, 8, *channels), np.uint8)
    clip = Clip(header(), pixels)
    with pytest.raises(ValueError, match="read-only"):
        clip.frames[0] = 1
    pixels[0] = 1  # the caller's own array stays writable
    assert clip.header.frame_count == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frame_times_s": ()}, "at least one frame"),
        ({"frame_times_s": (0.0, 0.0)}, "increase"),
        ({"frame_times_s": (0.1, 0.0)}, "increase"),
        ({"spacing": None}, "must say why"),
    ],
)
def test_a_header_without_sense_is_refused(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        header(**changes)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 6, 8), np.float32),
        np.zeros((2, 6), np.uint8),
        np.zeros((2, 6, 8, 4), np.uint8),
        np.zeros((3, 6, 8), np.uint8),
        np.zeros((2, 8, 6), np.uint8),
    ],
)
def test_pixels_that_do_not_fit_their_header_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"frames must be uint8|header says"):
        Clip(header(), pixels)


def test_flags_are_added_once() -> None:
    flagged = header().with_flags("a", "b").with_flags("b", "c")
    assert flagged.flags == ("a", "b", "c")
    assert header().flags == ()


@pytest.mark.parametrize("box", [(5, 0, 5, 10), (0, 10, 10, 10), (10, 0, 0, 10)])
def test_a_sector_is_not_empty(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="empty sector"):
        Sector(box)
