"""Loss and gradient found row by row are those of the formula over the whole matrix."""

from __future__ import annotations

import pytest
import torch

from echoapex.losses import self_distillation as module
from echoapex.losses.self_distillation import prototype_cross_entropy


def example(rows: int = 7) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, 9, generator=generator).requires_grad_()
    targets = torch.randn(3, 9, generator=generator).softmax(-1)
    return logits, targets, torch.arange(rows) % 3, torch.rand(rows, generator=generator)


def formula(
    logits: torch.Tensor, targets: torch.Tensor, target_rows: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    log_probabilities = torch.log_softmax(logits.float() / 0.1, dim=-1)
    return -((targets[target_rows] * log_probabilities).sum(-1) * weights).sum()


@pytest.mark.parametrize("scores_at_once", [1, 20, 1000])
def test_it_is_the_formula_however_many_rows_are_taken(scores_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CPU_SCORES_AT_ONCE", scores_at_once)
    found, expected = prototype_cross_entropy(*example(), 0.1), formula(*example())
    torch.testing.assert_close(found, expected)
    gradients = []
    for loss_of in (lambda *parts: prototype_cross_entropy(*parts, 0.1), formula):
        parts = example()
        (3 * loss_of(*parts)).backward()
        gradients.append(parts[0].grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_scores_far_apart_stay_finite() -> None:
    logits, targets, target_rows, weights = example()
    far = (logits.detach() * 1000).requires_grad_()
    loss = prototype_cross_entropy(far, targets, target_rows, weights, 0.1)
    loss.backward()
    torch.testing.assert_close(loss, formula(far, targets, target_rows, weights))
    assert far.grad is not None
    assert far.grad.isfinite().all()


def test_the_gradient_of_half_precision_has_half_precision() -> None:
    logits, targets, target_rows, weights = example()
    half = logits.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = prototype_cross_entropy(half, targets, target_rows, weights, 0.1)
    loss.backward()
    assert loss.dtype == torch.float32
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    single = half.detach().float().requires_grad_()
    formula(single, targets, target_rows, weights).backward()
    assert single.grad is not None
    torch.testing.assert_close(half.grad.float(), single.grad, rtol=1e-2, atol=1e-3)


def test_without_a_wish_for_gradients_nothing_is_kept() -> None:
    logits, *rest = example()
    assert not prototype_cross_entropy(logits.detach(), *rest, 0.1).requires_grad
