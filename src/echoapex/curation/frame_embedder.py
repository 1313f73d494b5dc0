"""Embeds single frames for curation: a feature vector, view probabilities and a legibility score for each frame.

The features come from an encoder, the views from a view classifier. The results for a sample of frames are kept on disk
in shards of ``FRAMES_PER_SHARD`` frames, so an interrupted curation continues where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float16, UInt8
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor
from torch.nn import functional

from echoapex.curation.sample import FrameSample
from echoapex.data.preprocess import assess_image
from echoapex.data.stores.frame_store import FrameStore
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.models.bundle import CARD_FILE, Bundle, Preprocessing, build_encoder_from, load_bundle
from echoapex.models.decoders.linear import pool_frame
from echoapex.models.encoder import Tokens, standardise
from echoapex.models.precision import choose_device
from echoapex.models.registry import default_set, find_set
from echoapex.tasks.trained_set import ViewModel, load_view_model

FRAMES_PER_SHARD = 1024
BATCH = 32
EMBEDDING_FOLDER = "embedded"
_IDENTITY_FILE = "sample.json"


@dataclass(frozen=True, eq=False)
class FrameEmbedding:
    """Features, views and legibility of some frames.

    Attributes:
        features: class token and mean of the patch tokens, concatenated and normalised to unit length.
        views: probabilities in the order of ``View``.
        legibility: from 0 (nearly blank) to 1, see :func:`echoapex.data.preprocess.assess_image`.
    """

    features: Float16[np.ndarray, "frames width"]
    views: Float[np.ndarray, "frames views"]
    legibility: Float[np.ndarray, "frames"]


class FrameEmbedder:
    """Embeds frames with an encoder and a view classifier.

    If the classifier was trained on the same encoder at the same image size, each frame is encoded only once.

    Args:
        encoder: bundle of the encoder that computes the features.
        view: the view classifier, with the encoder on which it was trained.
        device: where both compute.
    """

    def __init__(self, encoder: Bundle, view: ViewModel, device: torch.device) -> None:
        self._encoder = build_encoder_from(encoder).to(device).requires_grad_(False)
        self._preprocessing = encoder.card.preprocessing
        self._view = view
        self._device = device
        self._shared = (
            view.digests["encoder"] == encoder.digest
            and view.model.adapter is None
            and self._preprocessing.rule == "per_frame"
            and self._preprocessing.size[0] == view.model.input_size
        )
        self.digests = {"encoder": encoder.digest, **{f"view_{part}": sha for part, sha in view.digests.items()}}

    @classmethod
    def load(cls, name_or_path: str | Path, device: str = "auto") -> Self:
        """Load a set of bundles, or one encoder bundle; the default set supplies a missing view classifier.

        Raises:
            BundleError: there is no such set or bundle, or it is damaged.
            DeviceError: there is no such device here.
        """
        chosen = choose_device(device)
        place = Path(name_or_path)
        if (place / CARD_FILE).is_file():
            return cls(load_bundle(place), load_view_model(default_set(), chosen), chosen)
        found = find_set(name_or_path)
        return cls(load_bundle(found.encoder), load_view_model(found, chosen), chosen)

    @torch.inference_mode()
    def embed(self, frames: Sequence[UInt8[np.ndarray, "size size"]]) -> FrameEmbedding:
        """Embed frames, all of the same size."""
        last = len(self._encoder.blocks) - 1
        wanted = (*self._view.model.blocks, last) if self._shared else (last,)
        side = self._preprocessing.size[0]
        tokens = self._encoder.forward_blocks(self._normalised(_resized(frames, side)), wanted)
        features = functional.normalize(pool_frame(tokens[-1]).float(), dim=1)
        views = self._view.task.frame_probabilities(tokens[:-1] if self._shared else self._view_tokens(frames))
        return FrameEmbedding(
            features=features.half().cpu().numpy(),
            views=views.float().cpu().numpy(),
            legibility=np.array([assess_image(frame[None]).score for frame in frames], np.float32),
        )

    def _view_tokens(self, frames: Sequence[np.ndarray]) -> Sequence[Tokens]:
        model = self._view.model
        images = standardise(self._on_device(_resized(frames, model.input_size)))
        with model.adapted() as encoder:
            return encoder.forward_blocks(images, model.blocks)

    def _normalised(self, pixels: UInt8[np.ndarray, "frames side side"]) -> Float[Tensor, "frames channels side side"]:
        images = _normalise(self._on_device(pixels), self._preprocessing)
        return images.expand(-1, self._encoder.config.in_channels, -1, -1)

    def _on_device(self, pixels: np.ndarray) -> Tensor:
        return torch.from_numpy(pixels).to(self._device)


def _normalise(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    if preprocessing.rule == "per_frame":
        return standardise(pixels)
    return ((pixels.float() / 255 - preprocessing.mean) / preprocessing.std).unsqueeze(-3)


def _resized(frames: Sequence[np.ndarray], side: int) -> UInt8[np.ndarray, "frames side side"]:
    same = frames[0].shape[0] == side
    smaller = frames[0].shape[0] > side
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.stack([frame if same else cv2.resize(frame, (side, side), interpolation=how) for frame in frames])


class CurationError(ValueError):
    """A curation cannot continue; the message says why and what to do."""


class EmbeddingShards:
    """The embeddings of a sample on disk, in files of ``FRAMES_PER_SHARD`` frames.

    Args:
        folder: of the curation.
        identity: what the embeddings depend on: store, weights and sample.
        frames: number of frames in the sample.

    Raises:
        CurationError: the folder holds embeddings of another store, by other weights or of another sample.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], frames: int) -> None:
        self._folder = folder / EMBEDDING_FOLDER
        self._frames = frames
        content = (json.dumps({**identity, "frames": frames}, indent=1, sort_keys=True) + "\n").encode()
        known = self._folder / _IDENTITY_FILE
        if known.is_file() and known.read_bytes() != content:
            raise CurationError(
                f"{folder}: holds a curation of another store, of the store as it was, by other weights or of other "
                "frames; choose another --out"
            )
        write_bytes_atomically(known, content)

    def complete(self, embed: Callable[[range], Mapping[str, np.ndarray]], embedded: Callable[[int], None]) -> None:
        """Write the missing shards; calls ``embedded`` with the number of frames of each shard, old or new."""
        for first in range(0, self._frames, FRAMES_PER_SHARD):
            places = range(first, min(first + FRAMES_PER_SHARD, self._frames))
            if not self._is_whole(first, len(places)):
                write_bytes_atomically(self._path(first), save(dict(embed(places))))
            embedded(len(places))

    def read(self, name: str) -> np.ndarray:
        """One array of all frames."""
        return np.concatenate([shard[name] for shard in self._shards()])

    def feature_blocks(self) -> Iterator[Float16[np.ndarray, "block width"]]:
        """The features of all frames in order, a shard at a time."""
        for shard in self._shards():
            yield shard["features"]

    def _shards(self) -> Iterator[dict[str, np.ndarray]]:
        for first in range(0, self._frames, FRAMES_PER_SHARD):
            yield load_file(self._path(first))

    def _path(self, first: int) -> Path:
        return self._folder / f"shard-{first // FRAMES_PER_SHARD:06d}.safetensors"

    def _is_whole(self, first: int, frames: int) -> bool:
        if not self._path(first).is_file():
            return False
        try:
            return len(load_file(self._path(first))["features"]) == frames
        except (SafetensorError, OSError, KeyError):
            return False


class ShardEmbedder:
    """Embeds the sampled frames of one shard, ``BATCH`` frames at a time."""

    def __init__(self, store: FrameStore, sample: FrameSample, embedder: FrameEmbedder) -> None:
        self._store = store
        self._sample = sample
        self._embedder = embedder

    def __call__(self, places: range) -> dict[str, np.ndarray]:
        """Features, views, legibility and difference hashes of the sampled frames at these places."""
        rows = self._sample.rows[places.start : places.stop].tolist()
        batches = [rows[first : first + BATCH] for first in range(0, len(rows), BATCH)]
        embeddings = [self._embedder.embed(self._store.take(batch)) for batch in batches]
        names = ("features", "views", "legibility")
        found = {name: np.concatenate([getattr(embedding, name) for embedding in embeddings]) for name in names}
        hashes = self._store.columns("dhash", rows=rows)["dhash"]
        return {**found, "hashes": np.stack([np.frombuffer(one, np.uint8) for one in hashes])}
