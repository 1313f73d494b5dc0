"""Clips as vectors: those alike are near; patches keep their places in native pixels."""

from __future__ import annotations

import numpy as np
import pytest

from echoapex.domain import Clip, ClipHeader
from echoapex.infer.clip_embedder import ClipEmbedder, PatchFeatures
from echoapex.io.clip_source import ClipInMemory
from echoapex.models.registry import find_set
from echoapex.phantom import simulate_clip
from echoapex.vocabulary import View


def clip_of(view: View, seed: int) -> ClipInMemory:
    drawn = simulate_clip(view, seed, size=112, frames=5, label_frames=())
    times = tuple(0.04 * number for number in range(len(drawn.frames)))
    header = ClipHeader("clip", drawn.frames.shape[1:3], times, spacing=None, spacing_reason="not needed")
    return ClipInMemory(Clip(header, drawn.frames))


@pytest.fixture(scope="module")
def embedder() -> ClipEmbedder:
    return ClipEmbedder.load(find_set("phantom").encoder, "cpu", "fp32")


def test_clips_of_one_view_are_nearer_than_those_of_another(embedder: ClipEmbedder) -> None:
    first, same, other = (embedder.embed(clip_of(*each)) for each in ((View.PLAX, 1), (View.PLAX, 2), (View.A4C, 1)))
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
    assert float(first @ same) > float(first @ other)
    assert np.array_equal(first, embedder.embed(clip_of(View.PLAX, 1)))


def test_a_frame_comes_with_others_of_its_clip(embedder: ClipEmbedder) -> None:
    features = embedder.patches(clip_of(View.A4C, 1), 3)
    assert features.frames == (0, 1, 2, 3, 4)
    assert features.patches.shape[:3] == (5, *features.inside.shape)
    assert 0.2 < features.inside.mean() < 1, "the corners beside the fan are outside"
    with pytest.raises(ValueError, match="the clip has 5 frames"):
        embedder.patches(clip_of(View.A4C, 1), 5)


def test_colours_lie_where_their_patches_are(embedder: ClipEmbedder) -> None:
    found = embedder.patches(clip_of(View.A4C, 1), 0)
    features = PatchFeatures(found.frames, found.patches, np.ones_like(found.inside), found.transform)
    rows, columns = features.inside.shape
    colours = np.zeros((rows, columns, 3), np.uint8)
    colours[rows // 2, columns // 4] = (255, 0, 0)
    image = features.enlarge(colours)
    assert image.shape == (*features.transform.source_size, 4)
    y, x = np.unravel_index(image[..., 0].argmax(), image.shape[:2])
    side = features.transform.target_size[0]
    centre = np.array([(columns // 4 + 0.5) * side / columns - 0.5, (rows // 2 + 0.5) * side / rows - 0.5])
    expected = features.transform.inverse.map_points(centre)
    assert np.abs(np.array([x, y]) - expected).max() <= 0.5 * side / rows
    assert not image[..., 1].any()
