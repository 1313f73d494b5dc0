"""An archive as a map: each clip is a point, near to those that look alike; and who the nearest neighbours are.

Features are unit vectors of an encoder, so that distances are those of directions (one minus the cosine).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from sklearn.decomposition import PCA

MapMethod = Literal["pca", "umap"]
_COLOURS = 3
_TAILS_PERCENT = (2.0, 98.0)
"""Colours are stretched between these percentiles, so that a few odd patches do not make the others pale."""


class ArchiveMapError(ValueError):
    """A map that cannot be made; the message says what to install or to choose."""


def draw_map(features: Float[np.ndarray, "clips width"], method: MapMethod = "pca") -> Float[np.ndarray, "clips 2"]:
    """Places of all clips on a plane; the same features give the same map.

    Args:
        features: unit vectors.
        method: ``pca`` keeps large distances, ``umap`` (McInnes et al., 2018) keeps neighbourhoods.

    Raises:
        ArchiveMapError: UMAP is asked for and not installed.
    """
    if method == "umap" and importlib.util.find_spec("umap") is None:
        raise ArchiveMapError("umap-learn is not installed; pip install 'echoapex[explore]', or choose pca")
    if len(features) < 3:  # a line at most; no method has anything to do
        return np.array([[float(number), 0.0] for number in range(len(features))]).reshape(-1, 2)
    wide = np.asarray(features, np.float64)
    if method == "pca" or len(features) < 5:
        return _fixed_signs(PCA(2, svd_solver="full").fit_transform(wide))
    from umap import UMAP

    places = UMAP(n_neighbors=min(15, len(wide) - 1), metric="cosine", random_state=0, n_jobs=1).fit_transform(wide)
    return np.asarray(places, np.float64)


def _fixed_signs(places: Float[np.ndarray, "clips axes"]) -> Float[np.ndarray, "clips axes"]:
    """Each axis such that its largest coordinate is positive, since PCA leaves the sign open."""
    largest = places[np.abs(places).argmax(axis=0), np.arange(places.shape[1])]
    return np.asarray(places * np.where(largest < 0, -1.0, 1.0))


def find_neighbours(features: Float[np.ndarray, "clips width"], clip: int, count: int) -> list[tuple[int, float]]:
    """The most similar clips of a clip with their distances (one minus the cosine), the nearest first.

    >>> find_neighbours(np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]), 1, 2)
    [(2, 0.2), (0, 1.0)]
    """
    distances = 1 - np.asarray(features, np.float64) @ np.asarray(features[clip], np.float64)
    order = [int(other) for other in np.argsort(distances, kind="stable") if other != clip]
    return [(other, round(max(float(distances[other]), 0.0), 6)) for other in order[:count]]


def colour_patches(
    patches: Float[np.ndarray, "frames rows columns width"], inside: Sequence[Sequence[bool]]
) -> UInt8[np.ndarray, "frames rows columns 3"]:
    """The first three principal components of patch features as red, green and blue, the same scale on all frames.

    Args:
        patches: features by frame and place.
        inside: (rows, columns): which places lie in the ultrasound sector; the others stay black.
    """
    shown = np.asarray(inside, bool)
    frames, rows, columns, width = patches.shape
    colours = np.zeros((frames, rows, columns, _COLOURS), np.uint8)
    known = np.asarray(patches, np.float64)[:, shown].reshape(-1, width)
    if len(known) <= _COLOURS:
        return colours
    parts = _fixed_signs(PCA(_COLOURS, svd_solver="full").fit_transform(known))
    low, high = np.percentile(parts, _TAILS_PERCENT, axis=0)
    scaled = np.clip((parts - low) / np.maximum(high - low, 1e-9), 0, 1)
    colours[:, shown] = np.round(255 * scaled).astype(np.uint8).reshape(frames, -1, _COLOURS)
    return colours
