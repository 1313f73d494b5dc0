"""Block masks hide exactly as many patches as asked, in blocks, as often as asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from echoapex.data.crops import BlockMaskConfig, block_mask, sample_block_masks

GRID = (7, 9)
CONFIG = BlockMaskConfig()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 16), columns=st.integers(1, 16), share=st.floats(0, 1))
def test_the_count_is_exact(seed: int, rows: int, columns: int, share: float) -> None:
    count = round(share * rows * columns)
    mask = block_mask(np.random.default_rng(seed), (rows, columns), count, CONFIG)
    assert mask.shape == (rows, columns)
    assert mask.sum() == count


def test_masked_patches_have_more_masked_neighbours_than_scattered_ones() -> None:
    def neighbours(mask: np.ndarray) -> float:
        pairs = (mask[1:] & mask[:-1]).sum() + (mask[:, 1:] & mask[:, :-1]).sum()
        return float(pairs / mask.sum())

    rng = np.random.default_rng(0)
    blocks = [block_mask(rng, (14, 14), 50, CONFIG) for _ in range(40)]
    scattered = [rng.permutation(np.arange(196) < 50).reshape(14, 14) for _ in range(40)]
    assert np.mean([neighbours(m) for m in blocks]) > 2.5 * np.mean([neighbours(m) for m in scattered])


def test_every_patch_is_masked_at_times_and_ratios_spread_over_their_range() -> None:
    rng = np.random.default_rng(1)
    frames = np.stack([sample_block_masks(rng, (14, 14), 2, CONFIG) for _ in range(400)])
    shares = frames.mean(axis=(2, 3))
    assert ((shares > 0).sum(axis=1) == 1).all(), "one of the two crops"
    assert 0.4 < (shares[:, 0] > 0).mean() < 0.6, "each of them as often as the other"
    masks, shares = frames.reshape(-1, 14, 14), shares.ravel()
    masked = shares[shares > 0]
    assert masked.min() >= 0.09
    assert masked.max() <= 0.51
    assert masked.mean() == pytest.approx(0.3, abs=0.02)
    assert masks.mean(axis=0).min() > 0.01


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_crops_have_masked_patches_as_often_as_asked(probability: float) -> None:
    rng, config = np.random.default_rng(2), BlockMaskConfig(probability=probability)
    frames = np.stack([sample_block_masks(rng, GRID, 3, config) for _ in range(500)])
    assert frames.any(axis=(2, 3)).mean() == pytest.approx(probability, abs=0.04)


def test_the_same_generator_gives_the_same_mask() -> None:
    first, second = (block_mask(np.random.default_rng(3), GRID, 20, CONFIG) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (block_mask(np.random.default_rng(4), GRID, 20, CONFIG) != first).any()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot hide 64 patches of a grid of 7 x 9"):
        block_mask(np.random.default_rng(0), GRID, 64, CONFIG)
    with pytest.raises(ValidationError, match="must rise within 0 and 1"):
        BlockMaskConfig(ratio=(0.5, 0.1))
