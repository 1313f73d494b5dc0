import math

import pytest
import torch

from echoapex.models import attention
from echoapex.models.attention import SelfAttention, attend


def attend_by_definition(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    scores = torch.einsum("bhqd,bhkd->bhqk", queries, keys) / math.sqrt(queries.shape[-1])
    weights = scores.exp() / scores.exp().sum(dim=-1, keepdim=True)
    return torch.einsum("bhqk,bhkd->bhqd", weights, values)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("trains", [True, False])
def test_every_kernel_computes_the_same_formula_and_gradient(
    dtype: torch.dtype, tolerance: float, trains: bool
) -> None:
    exact = [torch.randn(2, 3, 17, 64, dtype=torch.float64).requires_grad_() for _ in range(3)]
    expected = attend_by_definition(*exact)
    rounded = [part.detach().to(dtype).requires_grad_(trains) for part in exact]
    mixed = attend(*rounded)
    torch.testing.assert_close(mixed.double(), expected, atol=tolerance, rtol=tolerance)
    if trains:
        target = torch.randn_like(expected)
        (expected * target).sum().backward()
        (mixed * target.to(dtype)).sum().backward()
        for mine, true in zip(rounded, exact, strict=True):
            torch.testing.assert_close(mine.grad.double(), true.grad, atol=3 * tolerance, rtol=3 * tolerance)


def test_bf16_takes_the_plain_way_on_cpu_when_training_or_short(monkeypatch: pytest.MonkeyPatch) -> None:
    fused_calls: list[torch.dtype] = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def record(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        fused_calls.append(queries.dtype)
        return fused(queries, keys, values)

    monkeypatch.setattr(attention.nn.functional, "scaled_dot_product_attention", record)

    def run(dtype: torch.dtype, tokens: int, trains: bool) -> None:
        attend(*(torch.randn(1, 1, tokens, 8, dtype=dtype, requires_grad=trains) for _ in range(3)))

    run(torch.bfloat16, 16, False)
    run(torch.bfloat16, 300, True)
    assert fused_calls == []
    run(torch.bfloat16, 300, False)
    run(torch.float32, 16, True)
    assert fused_calls == [torch.bfloat16, torch.float32]


def test_attention_does_not_know_the_order_of_tokens_without_positions() -> None:
    layer = SelfAttention(24, heads=3)
    tokens = torch.randn(2, 7, 24)
    order = torch.randperm(7)
    torch.testing.assert_close(layer(tokens)[:, order], layer(tokens[:, order]))
