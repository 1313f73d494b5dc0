from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from echoapex.models.decoders.mask_decoder import MaskedAttention, attend_masked


def test_it_is_the_attention_of_torch() -> None:
    queries, keys, values = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 8)
    mask = torch.rand(2, 7) > 0.3
    mask[:, 0] = True
    expected = scaled_dot_product_attention(queries, keys, values, attn_mask=mask[:, None, None, :])
    torch.testing.assert_close(attend_masked(queries, keys, values, mask), expected)


def test_masked_keys_change_nothing() -> None:
    attention = MaskedAttention(16, heads=4, inner_width=8)
    queries, keys = torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    more = torch.cat((keys, 100 * torch.randn(2, 2, 16)), dim=1)
    mask = torch.tensor([True] * 5 + [False] * 2).expand(2, -1)
    torch.testing.assert_close(attention(queries, more, more, mask), attention(queries, keys, keys))


def test_nothing_to_look_at_is_no_nan() -> None:
    attention = MaskedAttention(16, heads=4)
    tokens = torch.randn(1, 3, 16, requires_grad=True)
    seen = attention(tokens, tokens, tokens, torch.zeros(1, 3, dtype=torch.bool))
    seen.sum().backward()
    assert seen.isfinite().all()
    assert tokens.grad is not None
    assert tokens.grad.isfinite().all()
