from __future__ import annotations

import pytest
import torch

from echoapex.models.decoders.mask_decoder import ImageStem


def test_two_resolutions() -> None:
    fine = ImageStem(1, 6, 10)(torch.randn(2, 1, 24, 32))
    assert fine.half.shape == (2, 6, 12, 16)
    assert fine.quarter.shape == (2, 10, 6, 8)


def test_brightness_of_the_whole_image_counts_less_than_its_borders() -> None:
    stem, image = ImageStem(1, 6, 10), torch.zeros(1, 1, 32, 32)
    image[..., 16:] = 1
    half = stem(image).half
    assert half[..., 7:9].std(dim=-1).mean() > half[..., 2:4].std(dim=-1).mean()


def test_odd_quarters_are_refused() -> None:
    with pytest.raises(ValueError, match="30 x 32 pixels has no quarter resolution; use multiples of 4"):
        ImageStem(1, 6, 10)(torch.zeros(1, 1, 30, 32))
