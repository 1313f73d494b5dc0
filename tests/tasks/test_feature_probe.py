"""Figures of health against cases whose answer is known."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler

from echoapex.tasks.pretrain import effective_rank, linear_view_accuracy, nearest_view_accuracy, prototype_entropies


def test_rank_counts_the_directions_that_are_used() -> None:
    axes = torch.linalg.qr(torch.randn(10, 10)).Q
    for directions in (1, 3, 7):
        signs = torch.cat([torch.eye(directions), -torch.eye(directions)])
        features = 5 + signs @ axes[:directions]
        assert effective_rank(features) == pytest.approx(directions, abs=1e-4)


def test_rank_of_collapsed_features_is_zero() -> None:
    assert effective_rank(torch.full((20, 8), 3.3)) == 0


def test_entropies_tell_the_two_collapses_from_health() -> None:
    healthy = prototype_entropies(torch.eye(6))
    one_takes_all = prototype_entropies(torch.eye(6)[torch.zeros(9, dtype=torch.int64)])
    nothing_told_apart = prototype_entropies(torch.full((9, 6), 1 / 6))
    assert healthy == pytest.approx((1, 0))
    assert one_takes_all == pytest.approx((0, 0))
    assert nothing_told_apart == pytest.approx((1, 1))


def test_neighbours_vote_for_the_view_but_not_within_a_clip() -> None:
    towards = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    view = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    features = towards[view] + 0.01 * torch.randn(8, 2)
    clips = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    assert nearest_view_accuracy(features, view, clips, neighbours=2) == 1
    one_clip_a_view = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    assert nearest_view_accuracy(features, view, one_clip_a_view, neighbours=2) == 0


def test_a_near_neighbour_outvotes_two_far_ones() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.01], [0.6, 0.8], [0.6, 0.81]])
    view, clip = torch.tensor([3, 3, 5, 5]), torch.tensor([0, 1, 2, 3])
    assert nearest_view_accuracy(features, view, clip) == 1


def test_unknown_views_are_left_out_and_one_clip_has_no_accuracy() -> None:
    features, clip = torch.eye(4), torch.arange(4)
    assert nearest_view_accuracy(features, torch.tensor([-1, -1, -1, -1]), clip) is None
    assert nearest_view_accuracy(features, torch.tensor([0, -1, -1, -1]), clip) is None
    alike = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    assert nearest_view_accuracy(alike, torch.tensor([2, -1, 2, -1]), clip) == 1


def test_a_linear_probe_agrees_with_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    clip = torch.arange(60) // 3
    view = clip % 4
    features = torch.randn(60, 8, generator=generator) + 1.5 * torch.nn.functional.one_hot(view, 8)
    hits = 0
    for half in (0, 1):
        fitted, judged = (clip // 4 % 2 == half).numpy(), (clip // 4 % 2 != half).numpy()
        scaler = StandardScaler().fit(features.numpy()[fitted])
        ridge = RidgeClassifier(alpha=0.1 * fitted.sum(), fit_intercept=True)
        # one-hot targets of 0 and 1 rather than of -1 and 1 move all scores alike
        ridge.fit(scaler.transform(features.numpy()[fitted]), view.numpy()[fitted])
        hits += int((ridge.predict(scaler.transform(features.numpy()[judged])) == view.numpy()[judged]).sum())
    accuracy = linear_view_accuracy(features, view, clip)
    assert accuracy == pytest.approx(hits / 60)
    assert 0.6 < accuracy <= 1


def test_a_linear_probe_needs_two_clips_and_leaves_unknown_views_out() -> None:
    features = torch.randn(6, 4)
    assert linear_view_accuracy(features, torch.zeros(6, dtype=torch.long), torch.zeros(6, dtype=torch.long)) is None
    assert linear_view_accuracy(features, torch.arange(6), torch.arange(6)) is None, "one clip of each view"
    view = torch.tensor([0, 0, 0, -1, -1, -1])
    assert linear_view_accuracy(features, view, torch.arange(6)) == 1.0
