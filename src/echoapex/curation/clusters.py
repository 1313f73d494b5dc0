"""Hierarchical clusters of features, spread over all that occurs rather than over what is frequent.

Plain k-means puts most of its centres where most frames are. Two steps move centres to rare frames: centres are
clustered again, which makes a hierarchy, and each k-means is repeated on the frames nearest to its centres, with the
same number for each centre, which evens out the density of frames.

Source: Vo et al., "Automatic data curation for self-supervised learning: a clustering-based approach", 2024; k-means by
scikit-learn.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances_argmin_min
from threadpoolctl import threadpool_limits

MOST_FITTED = 131_072
"""Largest number of frames on which centres are fitted; all frames are then assigned."""
MOST_CLUSTERS = 4096
_FRAMES_PER_CLUSTER = 16
_BRANCHES = 8
_FEWEST_COARSE = 8
_RESAMPLINGS = 3
_PLAIN_WORK = 20_000_000
"""Up to this product of frames and centres, k-means uses all frames in every step; beyond it, mini-batches."""

FeatureBlocks = Callable[[], Iterator[Float[np.ndarray, "block width"]]]
"""Gives all features in order, a block at a time."""


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Clusters level by level, finest first; none is empty.

    Attributes:
        labels: finest cluster of each frame.
        parents: for each level but the coarsest, the cluster of the next level that each cluster lies in.
        counts: clusters of each level.
        typical: of each finest cluster, the frame nearest to its centre.
    """

    labels: Int[np.ndarray, "frames"]
    parents: tuple[Int[np.ndarray, "clusters"], ...]
    counts: tuple[int, ...]
    typical: Int[np.ndarray, "clusters"]


def default_counts(frames: int) -> tuple[int, ...]:
    """Clusters per level: one for 16 frames, at most 4,096, and an eighth of them at each further level.

    >>> default_counts(1_000_000), default_counts(100)
    ((4096, 512, 64), (6,))
    """
    counts = [min(max(frames // _FRAMES_PER_CLUSTER, 1), MOST_CLUSTERS)]
    while counts[-1] // _BRANCHES >= _FEWEST_COARSE and len(counts) < 3:
        counts.append(counts[-1] // _BRANCHES)
    return tuple(counts)


def build_hierarchy(blocks: FeatureBlocks, frames: int, counts: tuple[int, ...], seed: int) -> Hierarchy:
    """Cluster features level by level.

    Runs in one thread, so the result does not depend on the number of threads.

    Args:
        blocks: features of unit length.
        frames: how many there are.
        counts: clusters per level, finest first; empty for :func:`default_counts`. Fewer come out where frames are few.
        seed: of the choice of frames to fit on and of the first centres.
    """
    with threadpool_limits(limits=1):
        fitted = _some(blocks, frames, seed)
        levels = counts or default_counts(frames)
        centres = _spread_centres(fitted, levels[0], seed)
        del fitted
        labels, distances = _assign(blocks, frames, centres)
        labels, centres = _without_empty(labels, centres)
        found, parents = [len(centres)], []
        for level, count in enumerate(levels[1:], 1):
            if count >= len(centres):
                continue
            coarser = _spread_centres(centres, count, seed + level)
            above, coarser = _without_empty(pairwise_distances_argmin_min(centres, coarser)[0], coarser)
            parents.append(above)
            found.append(len(coarser))
            centres = coarser
    order = np.lexsort((distances, labels))
    typical = order[np.flatnonzero(np.diff(labels[order], prepend=-1))]
    return Hierarchy(labels, tuple(parents), tuple(found), typical)


def _some(blocks: FeatureBlocks, frames: int, seed: int) -> Float[np.ndarray, "fitted width"]:
    """Features of at most ``MOST_FITTED`` frames, in order."""
    chosen = np.arange(frames)
    if frames > MOST_FITTED:
        chosen = np.sort(np.random.default_rng([seed, 601]).choice(frames, MOST_FITTED, replace=False))
    parts, first = [], 0
    for block in blocks():
        inside = chosen[(chosen >= first) & (chosen < first + len(block))] - first
        parts.append(block[inside].astype(np.float32))
        first += len(block)
    return np.concatenate(parts)


def _spread_centres(points: np.ndarray, count: int, seed: int) -> Float[np.ndarray, "clusters width"]:
    """Centres of k-means, repeated on the same number of points around each centre."""
    count = min(count, len(np.unique(points, axis=0)) if len(points) <= 4 * count else len(points))
    centres = _fit(points, count, seed)
    for _ in range(_RESAMPLINGS if len(points) > 2 * count else 0):
        labels, distances = pairwise_distances_argmin_min(points, centres)
        order = np.lexsort((distances, labels))
        sorted_labels = labels[order]
        starts = np.flatnonzero(np.diff(sorted_labels, prepend=-1))
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        nearest = np.sort(order[rank < -(-len(points) // (2 * count))])
        if len(nearest) < count:
            break
        centres = _fit(points[nearest], count, seed)  # new start: starting from the old centres would not move them
    return centres


def _fit(points: np.ndarray, count: int, seed: int) -> Float[np.ndarray, "clusters width"]:
    small = len(points) * count <= _PLAIN_WORK
    options = {"n_clusters": count, "n_init": 1, "random_state": seed}
    method = KMeans(**options) if small else MiniBatchKMeans(**options, batch_size=max(4096, 2 * count), max_iter=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters: some stay empty
        centres: Float[np.ndarray, "clusters width"] = method.fit(points).cluster_centers_
    return centres


def _assign(blocks: FeatureBlocks, frames: int, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, distances, first = np.empty(frames, np.int64), np.empty(frames, np.float32), 0
    for block in blocks():
        last = first + len(block)
        labels[first:last], distances[first:last] = pairwise_distances_argmin_min(block.astype(np.float32), centres)
        first = last
    return labels, distances


def _without_empty(labels: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    present, numbered = np.unique(labels, return_inverse=True)
    return numbered, centres[present]
