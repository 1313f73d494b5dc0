from __future__ import annotations

import pytest
import torch

from echoapex.losses.supervised import gaussian_target, heatmap_loss
from echoapex.models.decoders.multiscale import WallPointConfig, WallPointDecoder


@pytest.mark.parametrize(("size", "side"), [(160, 10), (112, 8), (112, 7)])
def test_heat_maps_at_half_resolution_for_patches_of_16_and_14(size: int, side: int, make_tokens) -> None:
    decoder = WallPointDecoder(WallPointConfig())
    assert decoder(make_tokens(side=side), torch.randn(2, 1, size, size)).shape == (2, 4, size // 2, size // 2)


@pytest.mark.parametrize("depths", [1, 2, 3])
def test_any_number_of_depths(depths: int, make_tokens) -> None:
    decoder = WallPointDecoder(WallPointConfig(depths=depths))
    assert decoder(make_tokens(depths=depths), torch.randn(2, 1, 64, 64)).shape == (2, 4, 32, 32)
    with pytest.raises(ValueError, match=f"got tokens of 4 depths, this decoder reads {depths}"):
        decoder(make_tokens(depths=4), torch.randn(2, 1, 64, 64))


def test_map_pixels_are_centred_between_input_pixels() -> None:
    decoder = WallPointDecoder(WallPointConfig())
    heatmaps = torch.full((1, 4, 20, 20), -100.0)
    for point, (row, column) in enumerate([(0, 0), (3, 7), (19, 19), (10, 2)]):
        heatmaps[0, point, row, column] = 100.0
    points, _ = decoder.points(heatmaps)
    expected = torch.tensor([[[0.5, 0.5], [14.5, 6.5], [38.5, 38.5], [4.5, 20.5]]])
    torch.testing.assert_close(points, expected)


def test_points_agree_with_an_input_image_reduced_by_area() -> None:
    """A blob drawn at input resolution, averaged 2 x 2 as the decoder's stride says, is found where it was drawn."""
    truth = 30 + 60 * torch.rand(3, 4, 2)
    blobs = gaussian_target(truth, (128, 128), sigma=3.0)
    heatmaps = torch.nn.functional.avg_pool2d(blobs, 2).clamp_min(1e-12).log()
    points, confidence = WallPointDecoder(WallPointConfig()).points(heatmaps)
    assert (points - truth).abs().max() < 0.05
    assert confidence.min() > 0.95


def test_moving_the_map_moves_the_points() -> None:
    decoder = WallPointDecoder(WallPointConfig())
    heatmaps = gaussian_target(torch.tensor([[[20.2, 21.7]] * 4]), (48, 48), 1.5).log().clamp_min(-40)
    moved = heatmaps.roll((2, -3), dims=(2, 3))
    difference = decoder.points(moved)[0] - decoder.points(heatmaps)[0]
    torch.testing.assert_close(difference, torch.tensor([-6.0, 4.0]).expand(1, 4, 2), atol=1e-3, rtol=0)


def test_it_learns_two_images_by_heart(make_tokens) -> None:
    decoder, tokens, images = WallPointDecoder(WallPointConfig()), make_tokens(), torch.randn(2, 1, 64, 64)
    truth = torch.tensor([[[20.0, 10.0], [22.5, 20.0], [25.0, 40.0], [30.0, 50.0]], [[50.0, 9.0]] * 4])
    optimizer = torch.optim.Adam(decoder.parameters(), lr=3e-3)
    first = heatmap_loss(decoder(tokens, images), truth).item()
    for _ in range(60):
        loss = heatmap_loss(decoder(tokens, images), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    points, confidence = decoder.points(decoder(tokens, images))
    assert loss.item() < first / 20
    assert (points - truth).abs().max() < 1.0
    assert confidence.min() > 0.8
