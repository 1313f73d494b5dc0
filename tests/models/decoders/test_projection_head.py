"""The projection head gives cosines, and its prototypes can be frozen."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from echoapex.models.decoders.projection_head import ProjectionHead, ProjectionHeadConfig

CONFIG = ProjectionHeadConfig(layers=3, hidden=24, bottleneck=8, prototypes=11)


def head() -> ProjectionHead:
    torch.manual_seed(0)
    return ProjectionHead(16, CONFIG)


def test_scores_are_cosines_with_the_prototypes() -> None:
    module, tokens = head(), torch.randn(5, 16)
    first, second, third = module.perceptron[0], module.perceptron[2], module.perceptron[4]
    projected = third(functional.gelu(second(functional.gelu(first(tokens)))))
    expected = functional.cosine_similarity(projected[:, None], module.prototypes[None], dim=-1)
    torch.testing.assert_close(module(tokens), expected)
    assert len(module.perceptron) == 5, "no activation after the bottleneck"


def test_only_the_direction_of_a_prototype_counts() -> None:
    module, tokens = head(), torch.randn(5, 16)
    before = module(tokens)
    with torch.no_grad():
        module.prototypes.mul_(torch.rand(11, 1) * 9 + 0.5)
    torch.testing.assert_close(module(tokens), before)


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_prototypes_get_no_gradient_and_all_else_does(frozen: bool) -> None:
    module = head()
    module(torch.randn(5, 16), frozen_prototypes=frozen).square().sum().backward()
    assert (module.prototypes.grad is None) is frozen
    assert all(parameter.grad is not None for parameter in module.perceptron.parameters())


def test_one_layer_is_a_projection() -> None:
    module = ProjectionHead(16, ProjectionHeadConfig(layers=1, bottleneck=8, prototypes=3))
    assert [tuple(p.shape) for p in module.parameters()] == [(3, 8), (8, 16), (8,)]
