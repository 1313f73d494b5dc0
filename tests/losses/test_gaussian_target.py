from __future__ import annotations

import pytest
import torch

from echoapex.losses.supervised import gaussian_target


def test_it_has_the_centre_and_the_width_that_it_was_given() -> None:
    centre = torch.tensor([20.3, 14.8])
    target = gaussian_target(centre, (40, 50), sigma=2.5).double()
    columns, rows = torch.arange(50.0), torch.arange(40.0)
    mean_x = (target.sum(dim=0) * columns).sum()
    mean_y = (target.sum(dim=1) * rows).sum()
    deviation = ((target.sum(dim=0) * (columns - mean_x).square()).sum()).sqrt()
    assert target.sum().item() == pytest.approx(1, abs=1e-6)
    assert mean_x.item() == pytest.approx(20.3, abs=1e-4)
    assert mean_y.item() == pytest.approx(14.8, abs=1e-4)
    assert deviation.item() == pytest.approx(2.5, abs=1e-3)


def test_a_centre_far_away_gives_no_nan() -> None:
    target = gaussian_target(torch.tensor([[1e4, -1e4]]), (8, 8), sigma=1.0)
    assert target.isfinite().all()
    assert target.sum().item() == pytest.approx(1)
