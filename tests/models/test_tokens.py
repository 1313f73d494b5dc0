import pytest
import torch

from echoapex.models.encoder import Tokens


def build_tokens(patches: int, grid: tuple[int, int]) -> Tokens:
    values = torch.arange(2 * patches * 5, dtype=torch.float32).reshape(2, patches, 5)
    return Tokens(torch.zeros(2, 5), torch.zeros(2, 0, 5), values, grid)


def test_the_map_puts_patch_row_times_width_plus_column_at_row_and_column() -> None:
    tokens = build_tokens(6, (2, 3))
    features = tokens.as_map()
    assert features.shape == (2, 5, 2, 3)
    for row in range(2):
        for column in range(3):
            torch.testing.assert_close(features[:, :, row, column], tokens.patches[:, 3 * row + column])


def test_patches_that_do_not_fill_the_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="5 patch tokens do not fill a grid of 2 x 3"):
        build_tokens(5, (2, 3))
