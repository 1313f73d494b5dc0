"""Furniture: drawn at random on a copy, never more than it is told to."""

import numpy as np

from echoapex.data.style import draw_furniture


def test_pieces_come_as_often_as_they_are_told_to() -> None:
    image = np.full((168, 168), 20, np.uint8)
    rng = np.random.default_rng(1)
    assert (draw_furniture(image, rng, 0.0) == image).all()
    drawn = [draw_furniture(image, rng, 1.0) for _ in range(20)]
    changed = np.array([(one != image).mean() for one in drawn])
    assert (changed > 0.005).all() and (changed < 0.3).all()
    assert (image == 20).all(), "the frame that was given stays as it was"
    sometimes = [(draw_furniture(image, rng, 0.2) != image).any() for _ in range(100)]
    assert 40 < sum(sometimes) < 80, "at least one of four pieces: 1 - 0.8^4 is 0.59"


def test_the_same_chance_draws_the_same() -> None:
    image = np.full((112, 112), 20, np.uint8)
    first, second = (draw_furniture(image, np.random.default_rng(7), 0.8) for _ in range(2))
    np.testing.assert_array_equal(first, second)
