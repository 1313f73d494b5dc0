"""Frames are seen as a set's own analysis would see them, with one pass of the encoder where one is enough."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from drawn_studies import draw_fan_clip

from echoapex.curation.frame_embedder import FrameEmbedder
from echoapex.infer.clip.models import TaskInterpreter
from echoapex.models.bundle import BundleError, update_card
from echoapex.models.encoder import VisionTransformer
from echoapex.models.precision import DeviceError
from echoapex.models.registry import default_set
from echoapex.tasks.trained_set import load_models
from echoapex.vocabulary import Application


@pytest.fixture(scope="module")
def embedder() -> FrameEmbedder:
    return FrameEmbedder.load("phantom", "cpu")


@pytest.fixture
def frames() -> list[np.ndarray]:
    return list(draw_fan_clip(3, frames=3, size=192))


def test_views_are_those_of_one_look_at_a_frame_without_outlines(
    embedder: FrameEmbedder, frames: list[np.ndarray]
) -> None:
    models = load_models("phantom")
    models.view_classification.mask_branch = None
    interpreter = TaskInterpreter(models)
    embedding = embedder.embed(frames)
    for frame, views in zip(frames, embedding.views, strict=True):
        tokens = interpreter.tokens(interpreter.encode(frame[None], [0.0]), Application.VIEW_CLASSIFICATION)
        expected = models.view_classification.predict(tokens).probabilities
        assert views == pytest.approx(list(expected.values()), abs=2e-3), "but for half precision"


def test_features_have_unit_length_and_ignore_the_gain(embedder: FrameEmbedder, frames: list[np.ndarray]) -> None:
    embedding = embedder.embed(frames)
    assert embedding.features.dtype == np.float16
    assert np.linalg.norm(embedding.features.astype(np.float32), axis=1) == pytest.approx(1, abs=1e-3)
    darker = embedder.embed([(frame // 2).astype(np.uint8) for frame in frames])
    assert (embedding.features * darker.features).sum(axis=1).min() > 0.98
    assert (embedder.embed([np.zeros((192, 192), np.uint8)]).legibility == 0).all()
    assert (embedding.legibility > 0).all()


def test_one_encoder_runs_once_and_two_run_once_each(
    embedder: FrameEmbedder, frames: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    forward = VisionTransformer.forward_blocks

    def counted(self: VisionTransformer, images: torch.Tensor, blocks: tuple[int, ...]) -> object:
        passes.append(tuple(images.shape))
        return forward(self, images, blocks)

    monkeypatch.setattr(VisionTransformer, "forward_blocks", counted)
    alone = embedder.embed(frames)
    assert passes == [(3, 1, 192, 192)]
    encoder = copytree(default_set().encoder, tmp_path / "own")
    update_card(encoder, preprocessing={"size": [96, 96], "rule": "fixed", "mean": 0.2, "std": 0.3})
    own = FrameEmbedder.load(encoder, "cpu").embed(frames)
    assert passes[1:] == [(3, 1, 96, 96), (3, 1, 192, 192)]
    assert own.views == pytest.approx(alone.views, abs=1e-5)
    assert not np.allclose(own.features, alone.features, atol=0.01)


def test_what_cannot_embed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such set"):
        FrameEmbedder.load(tmp_path / "nowhere", "cpu")
    with pytest.raises(BundleError, match="give an encoder bundle"):
        FrameEmbedder.load(default_set().bundles["segmentation"], "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="there is no device"):
            FrameEmbedder.load("phantom", "cuda")
