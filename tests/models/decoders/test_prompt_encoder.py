from __future__ import annotations

import pytest
import torch

from echoapex.models.decoders.prompt_encoder import PlaceCode, PromptEncoder


def test_the_code_of_a_place_does_not_depend_on_the_resolution() -> None:
    """The centre of a patch is the same place whether counted in patches or in pixels."""
    place = PlaceCode(32)
    patch_centres = torch.tensor([[16 * column + 7.5, 16 * row + 7.5] for row in range(3) for column in range(4)])
    torch.testing.assert_close(place.of_grid((3, 4)), place(patch_centres, (48, 64)), atol=1e-4, rtol=0)


def test_near_places_have_similar_codes() -> None:
    place = PlaceCode(256)
    code = place(torch.tensor([[50.0, 50.0], [51.0, 50.0], [110.0, 50.0]]), (160, 160))
    assert code[0] @ code[1] > 0.95 * (code[0] @ code[0])
    assert code[0] @ code[2] < 0.5 * (code[0] @ code[0])


def test_what_a_point_says_is_in_its_token() -> None:
    encoder = PromptEncoder(32, mask_channels=4)
    tokens, real = encoder.encode_points(torch.full((1, 5, 2), 9.0), torch.tensor([[0, 1, 2, 3, -1]]), (64, 64))
    assert real.tolist() == [[True, True, True, True, False]]
    distances = torch.cdist(tokens[0, :4], tokens[0, :4])
    assert (distances + torch.eye(4) > 0.1).all()


def test_every_structure_has_its_own_name_and_so_has_none() -> None:
    names = PromptEncoder(32, mask_channels=4).encode_names(torch.tensor([[-1, 1, 2, 3, 4, 5, 6]]))
    assert names[0].unique(dim=0).shape[0] == 7


@pytest.mark.parametrize(("grid", "size"), [((10, 10), 80), ((8, 8), 56), ((3, 5), 17)])
def test_a_mask_of_any_size_comes_to_the_grid(grid: tuple[int, int], size: int) -> None:
    encoded = PromptEncoder(32, mask_channels=4).encode_masks(torch.randn(2, size, size), grid)
    assert encoded.shape == (2, grid[0] * grid[1], 32)


def test_a_mask_is_felt_where_it_is() -> None:
    encoder = PromptEncoder(32, mask_channels=4)
    left, none = torch.full((1, 32, 32), -8.0), torch.full((1, 32, 32), -8.0)
    left[..., :8] = 8.0
    change = (encoder.encode_masks(left, (4, 4)) - encoder.encode_masks(none, (4, 4))).norm(dim=-1).reshape(4, 4)
    assert change[:, 0].min() > 3 * change[:, 2:].max()


def test_a_very_sure_mask_is_no_louder_than_a_sure_one() -> None:
    encoder = PromptEncoder(32, mask_channels=4)
    sure = torch.where(torch.randn(1, 32, 32) > 0, 12.0, -12.0)
    torch.testing.assert_close(
        encoder.encode_masks(sure, (4, 4)), encoder.encode_masks(100 * sure, (4, 4)), atol=1e-3, rtol=0
    )
