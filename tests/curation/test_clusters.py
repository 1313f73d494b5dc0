"""Clusters are found again, spread to rare groups, nest, and come out the same for the same seed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from echoapex.curation import clusters as module
from echoapex.curation.clusters import FeatureBlocks, build_hierarchy, default_counts

GROUP_SIZES = (200, 60, 30, 10)


def groups(spread: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Features of four separate groups of very different size, shuffled, and the group of each."""
    rng = np.random.default_rng(3)
    group = rng.permutation(np.repeat(np.arange(4), GROUP_SIZES))
    features = np.eye(8)[2 * group] + spread * rng.normal(size=(len(group), 8))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float16), group


def in_blocks(features: np.ndarray, size: int = 64) -> FeatureBlocks:
    def blocks() -> Iterator[np.ndarray]:
        for first in range(0, len(features), size):
            yield features[first : first + size]

    return blocks


def test_groups_are_found_whatever_their_size() -> None:
    features, group = groups()
    found = build_hierarchy(in_blocks(features), len(features), (4,), seed=0)
    assert found.counts == (4,)
    assert len(set(zip(group.tolist(), found.labels.tolist(), strict=True))) == 4
    assert sorted(group[found.typical].tolist()) == [0, 1, 2, 3]


def test_clusters_lie_in_clusters_of_the_next_level() -> None:
    features, group = groups()
    found = build_hierarchy(in_blocks(features), len(features), (24, 4), seed=0)
    (parents,) = found.parents
    assert found.counts == (len(parents), 4)
    coarse = parents[found.labels]
    assert len(set(zip(group.tolist(), coarse.tolist(), strict=True))) == 4


def test_centres_are_drawn_out_to_what_is_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    dense, wide = rng.uniform(-0.5, 0.5, (3000, 2)), rng.uniform(-1, 1, (300, 2))
    features = np.concatenate([dense, wide]).astype(np.float32)

    def clusters_of_the_dense() -> int:
        found = build_hierarchy(in_blocks(features), len(features), (40,), seed=1)
        return int((np.abs(features[found.typical]) < 0.5).all(axis=1).sum())

    drawn_out = clusters_of_the_dense()
    monkeypatch.setattr(module, "_RESAMPLINGS", 0)
    plain = clusters_of_the_dense()
    assert 10 <= drawn_out < 0.8 * plain, "a quarter of the area would have 10 of 40"


@pytest.mark.parametrize("work", [0, 20_000_000])
def test_the_same_seed_gives_the_same_clusters(work: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PLAIN_WORK", work)
    features, _ = groups(spread=0.4)
    found = [build_hierarchy(in_blocks(features, size), len(features), (12, 3), 5) for size in (64, 64, 300)]
    for again in found[1:]:
        assert np.array_equal(found[0].labels, again.labels)
    with threadpool_limits(2):
        assert np.array_equal(found[0].labels, build_hierarchy(in_blocks(features), len(features), (12, 3), 5).labels)
    other = build_hierarchy(in_blocks(features), len(features), (12, 3), 6)
    assert not np.array_equal(found[0].labels, other.labels)


def test_a_large_sample_is_fitted_on_a_part_and_assigned_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FITTED", 100)
    features, group = groups()
    found = build_hierarchy(in_blocks(features), len(features), (4,), seed=0)
    assert len(found.labels) == len(features)
    assert len(set(zip(group.tolist(), found.labels.tolist(), strict=True))) == 4


def test_more_clusters_than_frames_are_no_error() -> None:
    features = np.eye(4, dtype=np.float16)[[0, 0, 1, 1, 1]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = build_hierarchy(in_blocks(features), 5, (50, 9), seed=0)
    assert found.counts == (2,)
    assert found.parents == ()
    assert len(set(found.labels[:2])) == len(set(found.labels[2:])) == 1


def test_the_number_of_clusters_follows_the_sample() -> None:
    assert default_counts(3) == (1,)
    assert default_counts(2_000) == (125, 15)
    assert default_counts(50_000) == (3125, 390, 48)
