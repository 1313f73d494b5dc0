"""Steady masks: one bad frame among good ones is mended, stills stay as they are, nothing is made from nothing."""

import numpy as np

from echoapex.infer.clip.outlines import settle_names, steady_masks
from echoapex.vocabulary import Structure


def disc(radius: float, peak: float = 0.95, side: int = 32) -> np.ndarray:
    rows, columns = np.mgrid[0:side, 0:side]
    distance = np.hypot(rows - side / 2, columns - side / 2)
    return (peak / (1 + np.exp(2 * (distance - radius)))).astype(np.float32)


def area(probabilities: np.ndarray) -> np.ndarray:
    return (probabilities > 0.5).sum(axis=(2, 3))


def test_a_structure_does_not_vanish_for_one_frame() -> None:
    maps = np.stack([disc(8)[None], disc(8)[None], disc(8, peak=0.05)[None], disc(8)[None], disc(8)[None]])
    steadied = area(steady_masks(maps, np.arange(5) / 50))
    assert (steadied > 0.8 * area(maps)[0]).all()


def test_one_frame_of_another_name_is_outvoted() -> None:
    left, nothing = disc(8), np.zeros((32, 32), np.float32)
    maps = np.stack([[nothing, left] if frame == 3 else [left, nothing] for frame in range(7)])
    steadied = steady_masks(maps, np.arange(7) / 50)
    assert (steadied.argmax(axis=1)[:, 16, 16] == 0).all()


def test_frames_far_apart_keep_their_own() -> None:
    maps = np.stack([disc(8)[None], disc(4)[None]])
    np.testing.assert_allclose(steady_masks(maps, [0.0, 1.0]), maps, atol=1e-6)


def test_a_faint_structure_is_taken_at_a_relative_threshold_and_none_is_invented() -> None:
    faint, nothing = disc(8, peak=0.4)[None, None], disc(8, peak=0.1)[None, None]
    assert 0.5 * area(disc(8)[None, None]) < area(steady_masks(faint, [0.0])) < 1.2 * area(disc(8)[None, None])
    assert area(steady_masks(nothing, [0.0])) == 0


def test_the_beat_is_kept() -> None:
    radius = 8 + 2 * np.cos(2 * np.pi * np.arange(40) / 40)  # one beat of 0.8 s at 50 frames a second
    maps = np.stack([disc(each)[None] for each in radius])
    before, after = area(maps).astype(float)[:, 0], area(steady_masks(maps, np.arange(40) / 50)).astype(float)[:, 0]
    assert abs(before.max() - after.max()) < 0.03 * before.max()
    assert abs(before.min() - after.min()) < 0.06 * before.min()


LEFT_AND_RIGHT = (Structure.LEFT_ATRIUM, Structure.RIGHT_ATRIUM)


def two_chambers(swapped: set[int], frames: int = 24) -> np.ndarray:
    """Two discs side by side, left and right atrium; on some frames the left one has the name of the right."""
    left, right = np.roll(disc(6), -8, axis=1), np.roll(disc(6), 8, axis=1)
    maps = np.stack([np.stack([left, right])] * frames)
    for frame in swapped:
        maps[frame, 1] = np.maximum(left, right)
        maps[frame, 0] = 0
    return maps


def test_a_chamber_with_the_wrong_name_for_a_fifth_of_a_second_gets_its_own_back() -> None:
    right, wrong = two_chambers(set()), two_chambers({9, 10, 11, 12, 13})
    settled = settle_names(wrong, np.arange(24) / 25, LEFT_AND_RIGHT)
    np.testing.assert_allclose(area(settled), area(right), atol=2)
    np.testing.assert_array_equal(settled[:5], right[:5])


def test_borders_between_chambers_stay_where_they_are() -> None:
    moving = np.stack([np.stack([disc(6 + frame % 3), np.roll(disc(5), 13, axis=1)]) for frame in range(12)])
    np.testing.assert_array_equal(settle_names(moving, np.arange(12) / 25, LEFT_AND_RIGHT), moving)


def test_frames_far_apart_and_walls_keep_their_names() -> None:
    wrong = two_chambers({1}, frames=3)
    np.testing.assert_array_equal(settle_names(wrong, [0.0, 2.0, 4.0], LEFT_AND_RIGHT), wrong)
    walls = (Structure.LV_MYOCARDIUM, Structure.RIGHT_ATRIUM)
    np.testing.assert_array_equal(settle_names(wrong, [0.0, 0.04, 0.08], walls), wrong)
