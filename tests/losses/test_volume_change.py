"""The ratio of volumes of two frames of a clip; what is not known does not count."""

import math

import pytest
import torch

from echoapex.losses.supervised import volume_change_loss

CLIP = torch.tensor([0, 0, 1, 1])
VOLUME = torch.tensor([1.0, 0.5, 0.8, 1.0])


def test_the_true_logarithm_is_without_fault_whatever_its_constant() -> None:
    constant = torch.tensor([3.0, 3.0, -7.0, -7.0])
    assert volume_change_loss(VOLUME.log() + constant, VOLUME, CLIP).item() == pytest.approx(0, abs=1e-6)


def test_the_error_is_that_of_the_ratio() -> None:
    no_change = torch.zeros(4)
    expected = (math.log(2) - 0.05 + math.log(1.25) - 0.05) / 2
    assert volume_change_loss(no_change, VOLUME, CLIP).item() == pytest.approx(expected, rel=1e-5)


def test_frames_of_different_clips_are_not_compared() -> None:
    assert volume_change_loss(torch.randn(4), VOLUME, torch.arange(4)).item() == 0


def test_unknown_and_invisible_volumes_do_not_count() -> None:
    predicted = torch.zeros(4, requires_grad=True)
    unknown = torch.tensor([1.0, float("nan"), 0.8, 1.0])
    loss = volume_change_loss(predicted, unknown, CLIP, torch.tensor([True, True, True, False]))
    loss.backward()
    assert loss.item() == 0
    assert predicted.grad is not None
    assert torch.equal(predicted.grad, torch.zeros(4))
