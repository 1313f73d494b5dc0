from __future__ import annotations

import torch
from torch.nn.functional import conv2d

from echoapex.models.decoders.mask_decoder import HalveResolution


def test_it_is_a_strided_convolution() -> None:
    halving, features = HalveResolution(3, 5), torch.randn(2, 3, 8, 6)
    # channel c of the cell's row r and column k is channel 4 c + 2 r + k
    kernel = halving.mix.weight[:, :, 0, 0].reshape(5, 3, 2, 2)
    torch.testing.assert_close(halving(features), conv2d(features, kernel, halving.mix.bias, stride=2))


def test_a_pixel_goes_to_its_own_cell_only() -> None:
    halving, features = HalveResolution(1, 4), torch.zeros(1, 1, 8, 8)
    empty = halving(features)
    features[0, 0, 5, 2] = 1
    changed = (halving(features) != empty).any(dim=1)[0]
    assert torch.nonzero(changed).tolist() == [[2, 1]]
