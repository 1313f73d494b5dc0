"""What a set may have learned of pictures that are no echocardiogram, and that a set without it reads as before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from echoapex.tasks.view_classification import NotEchoConfig, NotEchoHead, join_not_echo, split_not_echo


def _echo(clips: int = 400, width: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    scales = torch.linspace(0.2, 3.0, width)
    return torch.randn(clips, width, generator=generator) * scales + 2.0


def test_the_distance_is_that_of_mahalanobis() -> None:
    tokens = _echo()
    head = NotEchoHead.fit_mahalanobis(tokens, shrinkage=0.0)
    centred = (tokens - tokens.mean(dim=0)).numpy().astype(float)

    expected = (centred @ np.linalg.inv(np.cov(centred.T)) * centred).sum(axis=1) / tokens.shape[1]

    assert head(tokens).detach().numpy() == pytest.approx(expected, rel=1e-3)


def test_nearly_all_echocardiograms_stay_below_and_what_is_far_does_not() -> None:
    head = NotEchoHead.fit_mahalanobis(_echo(), quantile=0.99)

    kept = [head.doubts(token[None].repeat(3, 1)) for token in _echo()]

    assert sum(kept) == pytest.approx(4, abs=1)
    assert head.doubts(torch.full((2, 6), 30.0))
    # far along a direction in which echocardiograms hardly differ
    odd = torch.full((1, 6), 2.0)
    odd[0, 0] += 3.0
    assert head.doubts(odd)


def test_the_linear_score_is_the_log_odds() -> None:
    head = NotEchoHead(NotEchoConfig(kind="linear", width=2, threshold=0.5))
    with torch.no_grad():
        head.weight.copy_(torch.tensor([1.0, -2.0]))
        head.bias.fill_(0.25)

    assert head(torch.tensor([[1.0, 0.5]])).item() == pytest.approx(0.25)
    assert not head.doubts(torch.tensor([[1.0, 0.5]]))
    assert head.doubts(torch.tensor([[1.0, 0.5], [3.0, 0.5]]))  # mean score 1.25


def test_one_clip_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="two or more"):
        NotEchoHead.fit_mahalanobis(torch.zeros(1, 4))


def test_weights_are_joined_and_split() -> None:
    head = NotEchoHead.fit_mahalanobis(_echo())
    views = {"classifier.weight": torch.ones(2)}

    apart = split_not_echo(join_not_echo(views, head))

    assert set(apart[0]) == set(views)
    assert set(apart[1]) == set(head.state_dict())
    assert split_not_echo(views) == (views, {})
