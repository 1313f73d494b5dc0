from __future__ import annotations

import torch

from echoapex.models.decoders.mask_decoder import DoubleResolution, FineFeatures, FineUpscaling


def test_doubling_undoes_cutting_into_cells() -> None:
    doubling = DoubleResolution(4, 1)
    with torch.no_grad():
        doubling.expand.weight.copy_(torch.eye(4))
        doubling.expand.bias.zero_()
    image = torch.randn(2, 6, 8)
    cells = image.reshape(2, 3, 2, 4, 2).permute(0, 1, 3, 2, 4).reshape(2, 3, 4, 4)
    torch.testing.assert_close(doubling(cells)[..., 0], image)


def test_every_group_gets_the_features_of_its_own_image() -> None:
    upscaling = FineUpscaling(16, quarter_channels=4, half_channels=3)
    patches = torch.randn(1, 4, 16).expand(6, -1, -1)
    fine = FineFeatures(half=torch.randn(2, 3, 16, 16), quarter=torch.randn(2, 4, 8, 8))
    features = upscaling(patches, (2, 2), fine)
    assert features.shape == (6, 3, 16, 16)
    torch.testing.assert_close(features[:3], features[:1].expand(3, -1, -1, -1))
    torch.testing.assert_close(features[3:], features[3:4].expand(3, -1, -1, -1))
    assert not torch.allclose(features[0], features[3], atol=1e-2)


def test_patches_of_14_pixels_fit_the_image() -> None:
    upscaling = FineUpscaling(16, quarter_channels=4, half_channels=3)
    fine = FineFeatures(half=torch.randn(1, 3, 56, 56), quarter=torch.randn(1, 4, 28, 28))
    assert upscaling(torch.randn(1, 64, 16), (8, 8), fine).shape == (1, 3, 56, 56)
