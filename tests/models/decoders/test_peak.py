from __future__ import annotations

import pytest
import torch

from echoapex.losses.supervised import gaussian_target
from echoapex.models.decoders.multiscale import find_peaks

SIZE = (40, 48)


def logits_of(centres: torch.Tensor, sigma: float) -> torch.Tensor:
    return gaussian_target(centres, SIZE, sigma).clamp_min(1e-12).log()


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.5])
def test_the_centre_of_a_gaussian_is_found_to_a_fiftieth_of_a_pixel(sigma: float) -> None:
    centres = 12 + 20 * torch.rand(5, 4, 2)
    found, confidence = find_peaks(logits_of(centres, sigma), window=3.0)
    assert (found - centres).abs().max() < 0.02
    assert confidence.min() > 0.7


def test_the_highest_of_two_peaks_is_taken_whole() -> None:
    high, low = torch.tensor([[[10.3, 12.6]]]), torch.tensor([[[35.0, 30.0]]])
    both = 0.7 * gaussian_target(high, SIZE, 1.5) + 0.3 * gaussian_target(low, SIZE, 1.5)
    found, confidence = find_peaks(both.clamp_min(1e-12).log(), window=3.0)
    assert (found - high).abs().max() < 0.05
    assert confidence.item() == pytest.approx(0.7, abs=0.02)


def test_a_flat_map_is_not_trusted() -> None:
    _, confidence = find_peaks(torch.zeros(1, 1, *SIZE), window=3.0)
    assert confidence.item() < 0.05


def test_a_constant_added_to_the_logits_changes_nothing() -> None:
    logits = torch.randn(2, 3, *SIZE)
    torch.testing.assert_close(find_peaks(logits, 3.0), find_peaks(logits + 50, 3.0))


def test_extreme_logits_give_a_point_on_the_map() -> None:
    logits = torch.full((1, 1, *SIZE), -1e4)
    logits[0, 0, 39, 0] = 1e4
    found, confidence = find_peaks(logits, 3.0)
    torch.testing.assert_close(found, torch.tensor([[[0.0, 39.0]]]))
    assert confidence.item() == pytest.approx(1)
