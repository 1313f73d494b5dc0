"""Where pretraining reads its frames: any object that has a length and gives grey frames by number."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8

from echoapex.data.datasets.records import DatasetError
from echoapex.data.stores.clip_store import ClipStore
from echoapex.data.stores.prepared_set import is_prepared_set, open_prepared_set

EVEN_VISITS = 16
"""Visits of a frame with weight 1 in one pass over a curated store."""
_STORE_MODULE = "echoapex.data.stores.frame_store"
_SELECTION_MODULE = "echoapex.curation.selection"


class FrameReaderError(ValueError):
    """Frames cannot be read; the message names the store, what is wrong and the remedy."""


@runtime_checkable
class FrameReader(Protocol):
    """A numbered list of prepared grey frames."""

    def __len__(self) -> int:
        """Number of frames."""

    def take(self, rows: Sequence[int]) -> list[UInt8[np.ndarray, "size size"]]:
        """The frames with these numbers, in this order."""


class ClipStoreReader:
    """Every frame of stores of prepared clips, numbered clip by clip.

    Attributes:
        view: index into ``View`` of each frame; -1 unknown.
        clip: number of the clip that each frame belongs to.
    """

    def __init__(self, stores: Sequence[ClipStore]) -> None:
        clips = [(store, clip) for store in stores for clip in range(len(store))]
        counts = [len(store.frames(clip)) for store, clip in clips]
        views = [int(store.truth["view"][clip]) for store, clip in clips]
        self._clips = clips
        self._frame = np.concatenate([np.arange(count) for count in counts] or [np.zeros(0, np.int64)])
        self.clip: Int[np.ndarray, "frames"] = np.repeat(np.arange(len(clips)), counts)
        self.view: Int[np.ndarray, "frames"] = np.repeat(np.asarray(views, np.int64), counts)

    def __len__(self) -> int:
        return len(self._frame)

    def take(self, rows: Sequence[int]) -> list[UInt8[np.ndarray, "size size"]]:
        """The frames with these numbers, in this order."""
        frames = []
        for row in rows:
            store, clip = self._clips[self.clip[row]]
            frames.append(np.asarray(store.frames(clip)[self._frame[row]]))
        return frames


class JoinedReader:
    """Several readers as one, their frames numbered one reader after the other."""

    def __init__(self, readers: Sequence[FrameReader]) -> None:
        self._readers = list(readers)
        self._first = np.cumsum([0, *[len(reader) for reader in readers]])

    def __len__(self) -> int:
        return int(self._first[-1])

    def take(self, rows: Sequence[int]) -> list[UInt8[np.ndarray, "size size"]]:
        """The frames with these numbers, in this order; each reader is asked once."""
        owners = np.searchsorted(self._first, rows, side="right") - 1
        frames: dict[int, UInt8[np.ndarray, "size size"]] = {}
        for owner in np.unique(owners):
            places: list[int] = np.flatnonzero(owners == owner).tolist()
            taken = self._readers[owner].take([int(rows[place] - self._first[owner]) for place in places])
            frames.update(zip(places, taken, strict=True))
        return [frames[place] for place in range(len(rows))]


class RepeatedReader:
    """A reader whose frames are numbered several times over."""

    def __init__(self, reader: FrameReader, times: int) -> None:
        self._reader = reader
        self._times = times

    def __len__(self) -> int:
        return self._times * len(self._reader)

    def take(self, rows: Sequence[int]) -> list[UInt8[np.ndarray, "size size"]]:
        """The frames with these numbers, in this order."""
        return self._reader.take([row % len(self._reader) for row in rows])


def open_frame_store(location: str, curation: Path | None = None) -> FrameReader:
    """Open the training patients of a store of ingested frames, or of a prepared set.

    The library of ingested frames is imported only here; a prepared set does not need it.

    Args:
        location: folder or URL of the store, or folder of a prepared set.
        curation: folder of ``echoapex curate`` whose weights are used; None: all frames equally often.

    Raises:
        FrameReaderError: this installation cannot read such stores, there is none at ``location``, or the curation is
            none of this store.
    """
    if is_prepared_set(Path(location)):
        return _open_prepared(Path(location), curation)
    try:
        module = importlib.import_module(_STORE_MODULE)
    except ImportError as error:
        raise FrameReaderError(
            f"{location}: this installation cannot read stores of ingested frames ({error}); install echoapex with "
            "the extra that ingests archives, or name phantom stores under task.stores instead"
        ) from error
    try:
        store = module.FrameStore(location, split="train")
        frames = len(store)  # this opens the store
    except (OSError, ValueError) as error:
        raise FrameReaderError(
            f"{location}: cannot be opened as a store of frames ({error}); check the path"
        ) from error
    if frames == 0:
        raise FrameReaderError(f"{location}: holds no frames of training patients; ingest an archive into it first")
    if curation is None:
        return cast("FrameReader", store)
    selections = importlib.import_module(_SELECTION_MODULE)
    try:
        return cast("FrameReader", selections.open_curated(store, curation))
    except (OSError, ValueError) as error:
        raise FrameReaderError(str(error)) from error


def _open_prepared(folder: Path, curation: Path | None) -> FrameReader:
    if curation is not None:
        raise FrameReaderError(f"{folder}: is a prepared set, which has no curation; take it out of task.curation")
    try:
        return ClipStoreReader([open_prepared_set(folder)[0]])
    except DatasetError as error:
        raise FrameReaderError(str(error)) from error
