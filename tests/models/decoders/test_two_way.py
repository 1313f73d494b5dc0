from __future__ import annotations

import torch

from echoapex.models.decoders.mask_decoder import TwoWayTransformer


def transformer() -> TwoWayTransformer:
    return TwoWayTransformer(width=16, depth=2, heads=2, hidden=32)


def test_padding_prompts_change_neither_prompts_nor_image() -> None:
    model, prompts, image, position = transformer(), torch.randn(2, 3, 16), torch.randn(2, 9, 16), torch.randn(9, 16)
    padded = torch.cat((prompts, 50 * torch.randn(2, 2, 16)), dim=1)
    mask = torch.tensor([True] * 3 + [False] * 2).expand(2, -1)
    answers, seen = model(prompts, mask[:, :3], image, position)
    padded_answers, padded_seen = model(padded, mask, image, position)
    torch.testing.assert_close(padded_answers[:, :3], answers)
    torch.testing.assert_close(padded_seen, seen)


def test_both_ways_are_open() -> None:
    model, prompts, image, position = transformer(), torch.randn(1, 3, 16), torch.randn(1, 9, 16), torch.randn(9, 16)
    mask = torch.ones(1, 3, dtype=torch.bool)
    answers, seen = model(prompts, mask, image, position)
    assert not torch.allclose(model(prompts, mask, torch.randn(1, 9, 16), position)[0], answers, atol=1e-3)
    assert not torch.allclose(model(torch.randn(1, 3, 16), mask, image, position)[1], seen, atol=1e-3)


def test_the_order_of_patches_matters_only_through_their_position() -> None:
    model, prompts, image, position = transformer(), torch.randn(1, 3, 16), torch.randn(1, 9, 16), torch.randn(9, 16)
    mask, order = torch.ones(1, 3, dtype=torch.bool), torch.randperm(9)
    answers, seen = model(prompts, mask, image, position)
    shuffled_answers, shuffled_seen = model(prompts, mask, image[:, order], position[order])
    torch.testing.assert_close(shuffled_answers, answers)
    torch.testing.assert_close(shuffled_seen, seen[:, order])
    assert not torch.allclose(model(prompts, mask, image[:, order], position)[0], answers, atol=1e-3)
