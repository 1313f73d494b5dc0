"""The error and the limits that every reader shares."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from echoapex.domain import ClipHeader
from echoapex.io.clip_source import ReadError, ReadLimits, load_clip


def test_an_error_says_what_where_and_what_to_do() -> None:
    error = ReadError("a.dcm", "is empty", "export it again")
    assert str(error) == "a.dcm: is empty; export it again"
    assert isinstance(error, ValueError)


def test_an_error_crosses_process_borders_whole() -> None:
    error = pickle.loads(pickle.dumps(ReadError("a.dcm", "is empty", "export it again")))
    assert (error.path, error.reason, error.remedy) == ("a.dcm", "is empty", "export it again")


@pytest.mark.parametrize(
    ("size", "frames", "reason"),
    [
        ((0, 10), 1, "0 pixels"),
        ((10, -1), 1, "-1 x 10"),
        ((4096, 4097), 1, "max_frame_pixels"),
        ((10, 10), 0, "no frame"),
        ((10, 10), 100_001, "max_frames"),
    ],
)
def test_impossible_sizes_are_refused(size: tuple[int, int], frames: int, reason: str) -> None:
    with pytest.raises(ReadError, match=reason):
        ReadLimits().check_frames(size, frames, "a.dcm")


def test_the_limits_themselves_are_allowed() -> None:
    ReadLimits().check_frames((4096, 4096), 100_000, "a.dcm")


class _TwoFrames:
    header = ClipHeader("a", (2, 3), (0.0, 0.1), spacing_reason="synthetic")

    def frames(self):
        yield np.zeros((2, 3), np.uint8)
        yield np.ones((2, 3), np.uint8)


def test_a_source_is_loaded_whole() -> None:
    clip = load_clip(_TwoFrames())
    assert clip.frames.shape == (2, 2, 3)
    assert clip.frames[1].all()
