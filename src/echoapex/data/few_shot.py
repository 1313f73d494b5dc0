"""A few labelled clips of a store: whole patients, balanced over views, the same for the same seed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydantic import Field, model_validator

from echoapex.config import Config
from echoapex.data.clip_store import ClipSource


class FewShot(Config):
    """How much of the labelled data is used: a number of clips, or a share."""

    clips: int | None = Field(default=None, ge=1)
    percent: float | None = Field(default=None, gt=0, le=100)
    seed: int = 0

    @model_validator(mode="after")
    def _one_of_two(self) -> FewShot:
        if (self.clips is None) == (self.percent is None):
            raise ValueError("give either clips or percent")
        return self

    def count_of(self, total: int) -> int:
        """How many of ``total`` clips."""
        if self.clips is not None:
            return self.clips
        assert self.percent is not None
        return max(1, math.ceil(total * self.percent / 100))


class ChosenClips:
    """Some clips of a store, numbered anew; reads like the store."""

    def __init__(self, store: ClipSource, clips: Sequence[int]) -> None:
        self._store = store
        self._clips = list(clips)
        self.truth = {name: values[self._clips] for name, values in store.truth.items()}

    def __len__(self) -> int:
        return len(self._clips)

    def frames(self, clip: int) -> np.ndarray:
        """All frames of one clip."""
        return self._store.frames(self._clips[clip])

    def labels(self, clip: int) -> np.ndarray:
        """The label maps of one clip."""
        return self._store.labels(self._clips[clip])


def choose_clips(stores: Sequence[ClipSource], few: FewShot) -> list[ClipSource]:
    """The few clips of several stores together; stores of which none is chosen are left out.

    Patients come in a random order, those first whose views have the fewest clips so far; all clips of a patient are
    taken, so there can be a few more than asked for.

    Args:
        stores: of prepared clips; patients of different stores are different people.
        few: how many.
    """
    views: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for number, store in enumerate(stores):
        for clip, patient in enumerate(store.truth["patient"].tolist()):
            views.setdefault((number, patient), []).append((clip, int(store.truth["view"][clip])))
    wanted = few.count_of(sum(len(store) for store in stores))
    rng = np.random.default_rng([few.seed, 401])
    names = sorted(views)
    waiting = [names[index] for index in rng.permutation(len(names))]
    taken: dict[int, int] = {}
    chosen: list[list[int]] = [[] for _ in stores]
    while waiting and sum(map(len, chosen)) < wanted:
        # the first in line whose best-covered view is covered least
        patient = min(waiting, key=lambda each: max(taken.get(view, 0) for _, view in views[each]))
        waiting.remove(patient)
        for clip, view in views[patient]:
            chosen[patient[0]].append(clip)
            taken[view] = taken.get(view, 0) + 1
    return [ChosenClips(store, sorted(clips)) for store, clips in zip(stores, chosen, strict=True) if clips]
