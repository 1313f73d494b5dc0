"""The KoLeo regulariser against closed forms, and as a force that spreads points."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from echoapex.losses.self_distillation import koleo_loss


def test_it_is_minus_the_logarithm_of_the_distance_to_the_nearest() -> None:
    square = torch.tensor([[3.0, 0.0], [0.0, 0.5], [-7.0, 0.0], [0.0, -1.0]])
    assert koleo_loss(square).item() == pytest.approx(-math.log(math.sqrt(2)), abs=1e-5)
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert koleo_loss(opposite).item() == pytest.approx(-math.log(2), abs=1e-5)


def test_it_spreads_points_over_the_circle() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.nn.Parameter(torch.tensor([1.0, 0.0]) + 0.1 * torch.randn(8, 2, generator=generator))
    optimizer = torch.optim.Adam([points], lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        koleo_loss(points).backward()
        optimizer.step()
    directions = functional.normalize(points.detach(), dim=-1)
    cosines = (directions @ directions.T).fill_diagonal_(-2)
    evenly = math.cos(2 * math.pi / 8)
    assert cosines.max(dim=1).values.mean().item() == pytest.approx(evenly, abs=0.1)


def test_equal_features_and_a_batch_of_one_give_finite_gradients() -> None:
    for batch in (3, 1):
        features = torch.ones(batch, 4, requires_grad=True)
        loss = koleo_loss(features)
        loss.backward()
        assert loss.isfinite()
        assert features.grad is not None
        assert features.grad.isfinite().all()
    assert koleo_loss(torch.ones(1, 4)).item() == 0


def test_half_precision_is_computed_in_single() -> None:
    features = torch.randn(6, 32, generator=torch.Generator().manual_seed(1)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = koleo_loss(features)
    torch.testing.assert_close(loss, koleo_loss(features.float()), rtol=1e-6, atol=0)
