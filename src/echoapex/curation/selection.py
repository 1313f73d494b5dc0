"""The result of a curation for pretraining: how often each frame of a store is visited. No pixel is copied.

A selection is a small file. It names frames by their number among the training patients of one store, and it carries
the digest of the pixels of this store, so that it cannot be used with another store. Visits are whole numbers;
``EVEN_VISITS`` is the number of a frame whose weight is 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt16
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from echoapex.data.stores.frame_reader import EVEN_VISITS
from echoapex.data.stores.frame_store import FrameStore
from echoapex.io.temporary_files import write_bytes_atomically

SELECTION_FILE = "selection.safetensors"
_FORMAT = "echoapex frame selection 1"


class SelectionError(ValueError):
    """A selection cannot be used; the message names the file, what is wrong and the remedy."""


@dataclass(frozen=True, eq=False)
class Selection:
    """Frames and their visits.

    Attributes:
        rows: numbers of the frames among the training patients of the store, ascending; others are never visited.
        visits: how often each is visited while an even frame would be visited ``EVEN_VISITS`` times.
        frames: frames of the training patients of the store.
        store_sha256: digest of their pixels.
    """

    rows: Int[np.ndarray, "chosen"]
    visits: UInt16[np.ndarray, "chosen"]
    frames: int
    store_sha256: str

    def shares(self) -> Float[np.ndarray, "frames"]:
        """The share of all visits that each frame of the store has."""
        shares = np.zeros(self.frames)
        shares[self.rows] = self.visits / self.visits.sum(dtype=np.int64)
        return shares


class PixelDigest:
    """A digest over all frames of a store in their order, computed from the stored digests of their pixels."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def add(self, pixels: Int[np.ndarray, "frames"]) -> None:
        """The next frames."""
        self._sha.update(np.ascontiguousarray(pixels, "<i8").tobytes())

    def hexdigest(self) -> str:
        """The digest of all frames so far."""
        return self._sha.hexdigest()


class CuratedReader:
    """The frames of a store as a list in which each frame occurs as often as the selection visits it."""

    def __init__(self, store: FrameStore, selection: Selection) -> None:
        self._store = store
        self._rows = selection.rows
        self._ends = np.cumsum(selection.visits, dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def take(self, rows: Sequence[int]) -> list[np.ndarray]:
        """The frames at these positions of the list, in this order."""
        chosen = self._rows[np.searchsorted(self._ends, rows, side="right")]
        return self._store.take([int(row) for row in chosen])


def count_visits(weights: Float[np.ndarray, "frames"], seed: int) -> Int[np.ndarray, "frames"]:
    """Whole numbers of visits; the sum over any run of neighbours differs by less than one from the exact sum.

    Source: systematic sampling (Madow and Madow, "On the theory of systematic sampling", 1944).

    Args:
        weights: how often each frame is visited, 1 being even.
        seed: of where the counting begins.
    """
    begin = np.random.default_rng([seed, 503]).random()
    ends = np.floor(np.cumsum(weights * EVEN_VISITS) + begin)
    return np.diff(ends, prepend=np.floor(begin)).astype(np.int64)


def write_selection(folder: Path, selection: Selection) -> Path:
    """Write a selection into a folder, atomically; the same selection gives the same bytes."""
    arrays: dict[str, np.ndarray] = {
        "rows": selection.rows.astype(np.int64),
        "visits": selection.visits.astype(np.uint16),
    }
    # one metadata entry, since the library writes several in arbitrary order
    about = f"{_FORMAT}\n{selection.frames}\n{selection.store_sha256}"
    return write_bytes_atomically(folder / SELECTION_FILE, save(arrays, metadata={"selection": about}))


def read_selection(folder: Path) -> Selection:
    """Read the selection of a folder.

    Raises:
        SelectionError: there is none, or it is damaged.
    """
    path = folder / SELECTION_FILE
    if not path.is_file():
        raise SelectionError(f"{folder}: holds no selection of frames; make one with echoapex curate --out")
    try:
        with safe_open(path, "numpy") as file:
            form, frames, digest = (file.metadata() or {}).get("selection", "").split("\n")
            selection = Selection(file.get_tensor("rows"), file.get_tensor("visits"), int(frames), digest)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path) from error
    if form != _FORMAT or not _is_sound(selection):
        raise _damaged(path)
    return selection


def open_curated(store: FrameStore, folder: Path) -> CuratedReader:
    """Open the frames of a store with the selection from a folder.

    Args:
        store: its training patients.
        folder: what ``echoapex curate`` wrote.

    Raises:
        SelectionError: there is no selection, it is damaged, or it is of another store or another state of it.
        StoreError: the store cannot be read.
    """
    selection = read_selection(folder)
    digest = PixelDigest()
    for run in store.scan("pixels"):
        digest.add(run["pixels"])
    if digest.hexdigest() != selection.store_sha256:
        raise SelectionError(
            f"{folder}: was made for other frames ({selection.frames}, this store has {len(store)}); curate the store "
            "as it is now, into another folder"
        )
    return CuratedReader(store, selection)


def _is_sound(selection: Selection) -> bool:
    rows, visits = selection.rows, selection.visits
    return (
        rows.dtype == np.int64
        and visits.dtype == np.uint16
        and rows.ndim == 1
        and rows.shape == visits.shape
        and rows.size > 0
        and bool((np.diff(rows) > 0).all() and rows[0] >= 0 and rows[-1] < selection.frames and visits.min() > 0)
    )


def _damaged(path: Path) -> SelectionError:
    return SelectionError(f"{path}: is damaged or no selection of frames; run echoapex curate again")
