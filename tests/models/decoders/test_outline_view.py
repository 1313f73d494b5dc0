"""Where the outlines lie tells the view; a map of another size is refused."""

from __future__ import annotations

import pytest
import torch

from echoapex.models.decoders.linear import ViewFromMasksConfig, ViewFromMasksDecoder
from echoapex.vocabulary import Structure, View


def decoder() -> ViewFromMasksDecoder:
    return ViewFromMasksDecoder(ViewFromMasksConfig(side=8, width=4)).eval()


def test_one_logit_per_view_and_frame() -> None:
    assert decoder()(torch.rand(3, len(Structure), 8, 8), torch.rand(3, len(Structure))).shape == (3, len(View))


def test_the_place_of_an_outline_counts() -> None:
    left, right = torch.zeros(2, 1, len(Structure), 8, 8)
    left[:, 0, 2:5, 1:3], right[:, 0, 2:5, 5:7] = 1, 1
    model, overlap = decoder(), torch.ones(1, len(Structure))
    assert not torch.allclose(model(left, overlap), model(right, overlap))


def test_maps_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"this decoder takes \(6, 8, 8\)"):
        decoder()(torch.rand(1, len(Structure), 12, 12), torch.rand(1, len(Structure)))
