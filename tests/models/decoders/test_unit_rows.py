"""Rows of unit length, and their gradient, are those of ``normalize``, however many rows are taken at once."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from echoapex.models.decoders import projection_head as module
from echoapex.models.decoders.projection_head import unit_rows


def matrix() -> torch.Tensor:
    rows = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    rows[2] *= 1e-9  # shorter than epsilon
    return rows.requires_grad_()


@pytest.mark.parametrize("numbers", [1, 12, 1000])
def test_it_is_normalize_however_many_rows_are_taken(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CPU_NUMBERS_AT_ONCE", numbers)
    own, given = matrix(), matrix()
    found, expected = unit_rows(own), functional.normalize(given, dim=-1, eps=1e-6)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    found.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(own.grad, given.grad)


def test_under_autocast_only_the_result_is_rounded() -> None:
    own = matrix()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = unit_rows(own)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, functional.normalize(matrix(), dim=-1, eps=1e-6).bfloat16())
    found.float().sum().backward()
    assert own.grad is not None
    assert own.grad.dtype == torch.float32
