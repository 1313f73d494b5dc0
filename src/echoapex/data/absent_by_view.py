"""A structure that a view cannot show is known to be absent, even where nobody outlined anything."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from echoapex.data.clip_store import ClipSource
from echoapex.vocabulary import VISIBLE_STRUCTURES, Structure, View


class AbsentByView:
    """A store in which the structures that a clip's view does not show are labelled as absent.

    What was outlined stays. In a clip without outlines every frame becomes labelled, with empty maps; structures that
    the view may show stay unknown there. A clip of unknown view stays as it is.

    Args:
        store: the clips.
    """

    def __init__(self, store: ClipSource) -> None:
        self._store = store
        views, known = store.truth["view"], store.truth["known_structures"].copy()
        label_frames = store.truth["label_frames"]
        frames = len(store.frames(0)) if len(store) else 0
        padded = np.full((len(store), max(frames, label_frames.shape[1])), -1)
        padded[:, : label_frames.shape[1]] = label_frames
        for clip, view in enumerate(views):
            if view < 0:
                continue
            if not (label_frames[clip] >= 0).any():
                known[clip] = 0
                padded[clip, :frames] = np.arange(frames)
            known[clip] |= _absent_bits(list(View)[view])
        self.truth = {**store.truth, "known_structures": known, "label_frames": padded}

    def __len__(self) -> int:
        return len(self._store)

    def frames(self, clip: int) -> UInt8[np.ndarray, "frames size size"]:
        """All frames of one clip."""
        return self._store.frames(clip)

    def labels(self, clip: int) -> UInt8[np.ndarray, "labelled size size"]:
        """The label maps of one clip, empty ones where nothing was outlined."""
        given = self._store.labels(clip)
        maps = np.zeros((self.truth["label_frames"].shape[1], *given.shape[1:]), np.uint8)
        maps[: len(given)] = given
        return maps


def _absent_bits(view: View) -> int:
    return sum(1 << int(structure) for structure in Structure if structure not in VISIBLE_STRUCTURES[view])
