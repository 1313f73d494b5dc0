from __future__ import annotations

import numpy as np

from echoapex.infer.clip.outlines import drop_small_components


def test_small_islands_go_and_large_parts_stay() -> None:
    maps = np.zeros((2, 60, 60), np.float32)
    maps[0, 5:30, 5:30] = 0.9
    maps[0, 40:52, 40:52] = 0.8  # a quarter of the largest: the other side of a cut structure
    maps[0, 50:53, 5:8] = 0.7
    maps[1, 10:14, 10:14] = 0.6
    cleaned = drop_small_components(maps)
    assert cleaned[0, 10, 10] > 0.5
    assert cleaned[0, 45, 45] > 0.5
    assert cleaned[0, 51, 6] == 0
    np.testing.assert_array_equal(cleaned[1], maps[1])
    assert maps[0, 51, 6] > 0.5, "the input is left as it was"
