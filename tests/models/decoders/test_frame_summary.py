from __future__ import annotations

import pytest
import torch

from echoapex.models.decoders.linear import FrameSummary


def test_one_token_per_frame_for_any_square_grid() -> None:
    summary = FrameSummary(width=12, dim=20, queries=3, layout_channels=2, layout_side=4)
    for patches in (16, 49, 100):
        assert summary(torch.randn(2, 3, patches, 12)).shape == (2, 3, 20)


def test_frames_do_not_see_each_other() -> None:
    summary = FrameSummary(width=12, dim=20, queries=3, layout_channels=2, layout_side=3)
    patches = torch.randn(1, 4, 25, 12)
    torch.testing.assert_close(summary(patches)[:, 2:3], summary(patches[:, 2:3]))


def test_it_knows_where_things_are() -> None:
    """The same patches at other places are another frame, although what is there is the same."""
    summary = FrameSummary(width=12, dim=20, queries=3, layout_channels=2, layout_side=4)
    patches = torch.randn(1, 1, 16, 12)
    assert not torch.allclose(summary(patches), summary(patches.flip(2)), atol=1e-3)


def test_a_finer_grid_of_the_same_scene_gives_nearly_the_same_summary() -> None:
    summary = FrameSummary(width=12, dim=20, queries=3, layout_channels=2, layout_side=4)
    coarse = torch.randn(1, 12, 4, 4)
    fine = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    as_patches = [grid.flatten(2).transpose(1, 2)[None] for grid in (coarse, fine)]
    first, second = (summary(patches) for patches in as_patches)
    other = summary(torch.randn(1, 1, 16, 12))
    assert (first - second).norm() < 0.5 * (first - other).norm()


def test_patches_that_are_no_square_are_refused() -> None:
    with pytest.raises(ValueError, match="12 patches do not form a square"):
        FrameSummary(12, 20, 3, 2, 4)(torch.randn(1, 2, 12, 12))
