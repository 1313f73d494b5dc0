"""Which patches are hidden from the student: blocks rather than single patches, which neighbours would give away."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from pydantic import Field, model_validator

from echoapex.config import Config

_TRIES_PER_BLOCK = 10


class BlockMaskConfig(Config):
    """How much is hidden; the values of DINOv2."""

    probability: float = Field(default=0.5, ge=0, le=1)
    """How often an image has hidden patches at all."""
    ratio: tuple[float, float] = (0.1, 0.5)
    """Smallest and largest share of the patches that is hidden, where some are."""
    smallest_block: int = Field(default=4, ge=1)
    """Patches of a block, unless fewer are still to be hidden."""
    aspect: float = Field(default=0.3, gt=0, le=1)
    """Smallest height over width of a block; the largest is its inverse."""

    @model_validator(mode="after")
    def _ratio_rises(self) -> BlockMaskConfig:
        low, high = self.ratio
        if not 0 < low <= high <= 1:
            raise ValueError(f"ratio {list(self.ratio)} must rise within 0 and 1, as in [0.1, 0.5]")
        return self


def sample_block_masks(
    rng: np.random.Generator, grid: tuple[int, int], crops: int, config: BlockMaskConfig
) -> Bool[np.ndarray, "crops height width"]:
    """Masks of the crops of one frame, True where hidden; a crop has hidden patches as often as ``probability`` says.

    The crops of a frame take turns, so that of two crops, at a probability of one half, always exactly one is hidden in
    part: the loss of a small batch then varies less.

    Args:
        rng: the only source of chance.
        grid: patches per column and row.
        crops: how many.
        config: how much to hide.
    """
    turns = (rng.random() + np.arange(crops) / max(1, crops)) % 1 < config.probability
    masks = np.zeros((crops, *grid), bool)
    for crop in np.flatnonzero(turns):
        count = max(1, round(float(rng.uniform(*config.ratio)) * grid[0] * grid[1]))
        masks[crop] = block_mask(rng, grid, count, config)
    return masks


def block_mask(
    rng: np.random.Generator, grid: tuple[int, int], count: int, config: BlockMaskConfig
) -> Bool[np.ndarray, "height width"]:
    """A mask that hides exactly ``count`` patches: blocks as long as they fit, then single ones beside what is hidden.

    Source: Bao et al., "BEiT", 2022, algorithm 1.

    Raises:
        ValueError: the grid has fewer patches than that.
    """
    if not 0 <= count <= grid[0] * grid[1]:
        raise ValueError(f"cannot hide {count} patches of a grid of {grid[0]} x {grid[1]}")
    hidden = np.zeros(grid, bool)
    failures = 0
    while failures < _TRIES_PER_BLOCK and (left := count - int(hidden.sum())) > 0:
        rows, columns = _block_size(rng, grid, left, config)
        top, first = int(rng.integers(grid[0] - rows + 1)), int(rng.integers(grid[1] - columns + 1))
        block = hidden[top : top + rows, first : first + columns]
        new = block.size - int(block.sum())
        if 0 < new <= left:
            block[:] = True
        else:
            failures += 1
    return _filled_up(rng, hidden, count)


def _block_size(rng: np.random.Generator, grid: tuple[int, int], left: int, config: BlockMaskConfig) -> tuple[int, int]:
    """Rows and columns of a block of at most about ``left`` patches, its aspect log-uniform."""
    area = rng.uniform(min(config.smallest_block, left), left)
    aspect = np.exp(rng.uniform(np.log(config.aspect), np.log(1 / config.aspect)))
    rows, columns = round(float(np.sqrt(area * aspect))), round(float(np.sqrt(area / aspect)))
    return min(max(1, rows), grid[0]), min(max(1, columns), grid[1])


def _filled_up(
    rng: np.random.Generator, hidden: Bool[np.ndarray, "height width"], count: int
) -> Bool[np.ndarray, "height width"]:
    """Hide single patches until ``count`` are, those next to hidden ones first."""
    while hidden.sum() < count:
        padded = np.pad(hidden, 1)
        beside = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
        free = np.flatnonzero(~hidden & beside) if (~hidden & beside).any() else np.flatnonzero(~hidden)
        hidden.flat[rng.choice(free)] = True
    return hidden
