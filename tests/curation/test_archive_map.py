"""The map of an archive: geometry that PCA must keep, neighbours, and colours of patches."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from echoapex.curation.archive_map import ArchiveMapError, colour_patches, draw_map, find_neighbours


def unit(points: np.ndarray) -> np.ndarray:
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def two_groups(width: int = 16) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = np.eye(width)[[0] * 6 + [1] * 6]
    return unit(centres + 0.05 * rng.standard_normal((12, width)))


@pytest.mark.parametrize("method", ["pca", "umap"])
def test_groups_stay_apart_and_the_map_is_the_same_every_time(method: str) -> None:
    if method == "umap" and importlib.util.find_spec("umap") is None:
        with pytest.raises(ArchiveMapError, match=r"pip install 'echoapex\[explore\]'"):
            draw_map(two_groups(), "umap")
        return
    places = draw_map(two_groups(), method)  # type: ignore[arg-type]
    first, second = places[:6], places[6:]
    apart = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
    assert apart > 2 * max(np.linalg.norm(group - group.mean(axis=0), axis=1).max() for group in (first, second))
    assert np.array_equal(places, draw_map(two_groups(), method))  # type: ignore[arg-type]


def test_distances_in_a_plane_are_kept_by_pca() -> None:
    flat = np.zeros((5, 8))
    flat[:, 2:4] = [[0, 0], [1, 0], [0, 2], [3, 1], [2, 2]]
    places = draw_map(flat)

    def distances(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points[:, None] - points[None], axis=-1)

    assert distances(places) == pytest.approx(distances(flat))


@pytest.mark.parametrize("clips", [0, 1, 2])
def test_too_few_clips_for_a_plane(clips: int) -> None:
    assert draw_map(np.ones((clips, 4))).shape == (clips, 2)


def test_neighbours_are_those_of_the_same_direction() -> None:
    features = two_groups()
    found = find_neighbours(features, 2, 5)
    assert sorted(other for other, _ in found) == [0, 1, 3, 4, 5]
    assert [distance for _, distance in found] == sorted(distance for _, distance in found)
    assert len(find_neighbours(features, 2, 50)) == 11


def test_patches_alike_get_colours_alike_and_the_outside_stays_black() -> None:
    rng = np.random.default_rng(1)
    patches = rng.normal(0, 0.01, (2, 4, 4, 8))
    patches[:, :2, :, 0] += 5
    inside = np.ones((4, 4), bool)
    inside[:, 3] = False
    patches[:, :, 3] = 1000
    colours = colour_patches(patches, inside.tolist())
    assert not colours[:, :, 3].any()
    upper, lower = colours[:, :2, :3, 0].astype(int), colours[:, 2:, :3, 0].astype(int)
    assert abs(upper.mean() - lower.mean()) > 200
    assert upper.std() < 40
    assert not colour_patches(patches[:1], np.zeros((4, 4), bool).tolist()).any()
