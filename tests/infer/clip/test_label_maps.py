from __future__ import annotations

import numpy as np
import pytest

from echoapex.infer.clip.outlines import LabelMaps


def test_label_maps_come_back_as_they_went_in() -> None:
    rng = np.random.default_rng(0)
    maps = LabelMaps((30, 40))
    stack = rng.integers(0, 7, (3, 30, 40), np.uint8)
    for frame, labels in zip((8, 2, 5), stack, strict=True):
        maps[frame] = labels
    assert maps.frames == (2, 5, 8)
    np.testing.assert_array_equal(maps[8], stack[0])
    np.testing.assert_array_equal(maps[5], stack[2])


def test_the_nearest_frame_is_found() -> None:
    maps = LabelMaps((2, 2))
    assert maps.nearest(3) is None
    for frame in (0, 10):
        maps[frame] = np.zeros((2, 2), np.uint8)
    assert maps.nearest(4) == 0
    assert maps.nearest(7) == 10


def test_another_size_or_type_is_refused() -> None:
    maps = LabelMaps((2, 2))
    with pytest.raises(ValueError, match="label map"):
        maps[0] = np.zeros((3, 2), np.uint8)
    with pytest.raises(ValueError, match="label map"):
        maps[0] = np.zeros((2, 2), np.int32)  # type: ignore[assignment]
