"""What was seen of the sample, kept on disk in shards, so that an interrupted look goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from echoapex.data.curation.sample import FrameSample
from echoapex.data.store import FrameStore
from echoapex.infer.curation.frame_eyes import FrameEyes
from echoapex.io.atomic_file import write_bytes_atomically

FRAMES_PER_SHARD = 1024
BATCH = 32
GLANCE_FOLDER = "embedded"
_IDENTITY_FILE = "sample.json"


class CurationError(ValueError):
    """A curation that cannot go on; the message says why and what to do."""


class GlanceShards:
    """The features of a sample, and what else was seen, in files of ``FRAMES_PER_SHARD`` frames.

    Args:
        folder: of the curation.
        identity: what the shards depend on: store, weights and sample.
        frames: of the sample.

    Raises:
        CurationError: the folder holds those of another store, other weights or another sample.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], frames: int) -> None:
        self._folder = folder / GLANCE_FOLDER
        self._frames = frames
        content = (json.dumps({**identity, "frames": frames}, indent=1, sort_keys=True) + "\n").encode()
        known = self._folder / _IDENTITY_FILE
        if known.is_file() and known.read_bytes() != content:
            raise CurationError(
                f"{folder}: holds a curation of another store, of the store as it was, by other weights or of other "
                "frames; choose another --out"
            )
        write_bytes_atomically(known, content)

    def complete(self, look: Callable[[range], Mapping[str, np.ndarray]], seen: Callable[[int], None]) -> None:
        """Write the shards that are missing; ``seen`` is told how many frames each has, those from before included."""
        for first in range(0, self._frames, FRAMES_PER_SHARD):
            places = range(first, min(first + FRAMES_PER_SHARD, self._frames))
            if not self._is_whole(first, len(places)):
                write_bytes_atomically(self._path(first), save(dict(look(places))))
            seen(len(places))

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


class Looking:
    """Reads and looks at the frames of a shard, a batch at a time."""

    def __init__(self, store: FrameStore, sample: FrameSample, eyes: FrameEyes) -> None:
        self._store = store
        self._sample = sample
        self._eyes = eyes

    def __call__(self, places: range) -> dict[str, np.ndarray]:
        """What there is to know of the sampled frames at these places."""
        rows = self._sample.rows[places.start : places.stop].tolist()
        batches = [rows[first : first + BATCH] for first in range(0, len(rows), BATCH)]
        glances = [self._eyes.look(self._store.take(batch)) for batch in batches]
        names = ("features", "views", "legibility")
        found = {name: np.concatenate([getattr(glance, name) for glance in glances]) for name in names}
        hashes = self._store.columns("dhash", rows=rows)["dhash"]
        return {**found, "hashes": np.stack([np.frombuffer(one, np.uint8) for one in hashes])}
