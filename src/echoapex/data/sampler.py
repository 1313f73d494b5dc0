"""Which example comes next: permutations that depend on nothing but the seed and the position.

Because the order is a pure function of seed and position, a resumed run sees exactly the examples that an uninterrupted
run would have seen, on any number of processes.

``choose_clips`` draws the labelled clips of a few-shot run: whole patients, balanced over views, the same for the same
seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from pydantic import Field, model_validator

from echoapex.config import Config
from echoapex.data.stores.clip_store import PreparedClipSource


@lru_cache(maxsize=16)
def _permutation(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return tuple(int(i) for i in order)


def shuffled_index(seed: int, position: int, count: int) -> int:
    """The example at ``position`` of an endless sequence of shuffled epochs over ``count`` examples.

    Raises:
        ValueError: there is no example.
    """
    if count < 1:
        raise ValueError("cannot sample from an empty set")
    epoch, within = divmod(position, count)
    return _permutation(seed, epoch, count)[within]


def balanced_example(seed: int, position: int, groups: Sequence[Sequence[int]]) -> int:
    """The example at ``position`` when groups (for example views) alternate and each group is shuffled by itself.

    Every window of ``len(groups)`` positions visits each group once, in an order that changes from window to window.

    Raises:
        ValueError: there is no group, or a group is empty.
    """
    if not groups:
        raise ValueError("cannot sample from an empty set of groups")
    window, within = divmod(position, len(groups))
    group_number = _permutation(seed, window, len(groups))[within]
    group = groups[group_number]
    return int(group[shuffled_index(seed + 7919 * (group_number + 1), window, len(group))])


def scattered_index(seed: int, position: int, count: int) -> int:
    """Like :func:`shuffled_index`, but without a table, for stores of many millions of examples.

    Every epoch is a keyed permutation: a Feistel network on the smallest even number of bits that holds ``count``,
    walked until it lands inside.

    Source: Black and Rogaway, "Ciphers with arbitrary finite domains", 2002 (cycle walking).

    Raises:
        ValueError: there is no example.
    """
    if count < 1:
        raise ValueError("cannot sample from an empty set")
    epoch, index = divmod(position, count)
    half_bits = max(1, -(-(count - 1).bit_length() // 2))
    keys = _round_keys(seed, epoch)
    while True:
        index = _feistel(index, keys, half_bits)
        if index < count:
            return index


@lru_cache(maxsize=16)
def _round_keys(seed: int, epoch: int) -> tuple[int, ...]:
    keys = np.random.default_rng([seed, epoch, 4099]).integers(0, 1 << 62, size=6)
    return tuple(int(key) for key in keys)


def _feistel(index: int, keys: Sequence[int], half_bits: int) -> int:
    mask = (1 << half_bits) - 1
    left, right = index >> half_bits, index & mask
    for key in keys:
        mixed = ((right + 1) * 0x9E3779B97F4A7C15 ^ key) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        left, right = right, left ^ (mixed ^ mixed >> 29) >> 7 & mask
    return left << half_bits | right


def own_places(size: int, rank: int, count: int, key: str) -> range:
    """The positions in a batch of ``size`` for process ``rank`` of ``count``; all processes together cover the batch.

    >>> own_places(6, 1, 3, "task.frames.batch_size")
    range(2, 4)

    Raises:
        ValueError: the batch cannot be divided evenly; the message names ``key``, the recipe key to change.
    """
    if size % count:
        raise ValueError(
            f"a batch of {size} frames or clips cannot be divided evenly among {count} processes; "
            f"make {key} a multiple of {count}"
        )
    own = size // count
    return range(rank * own, (rank + 1) * own)


class FewShot(Config):
    """How much of the labelled data is used: a number of clips, or a percentage."""

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
    """A subset of the clips of a store, numbered from 0, with the interface of the store."""

    def __init__(self, store: PreparedClipSource, clips: Sequence[int]) -> None:
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


def choose_clips(stores: Sequence[PreparedClipSource], few: FewShot) -> list[PreparedClipSource]:
    """Choose few clips from several stores together; stores without a chosen clip are dropped.

    Patients are chosen in random order, first those whose views have the fewest clips so far. All clips of a patient
    are taken, so the result can have a few clips more than requested.

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
        # the first patient whose best-covered view has the fewest clips
        patient = min(waiting, key=lambda each: max(taken.get(view, 0) for _, view in views[each]))
        waiting.remove(patient)
        for clip, view in views[patient]:
            chosen[patient[0]].append(clip)
            taken[view] = taken.get(view, 0) + 1
    return [ChosenClips(store, sorted(clips)) for store, clips in zip(stores, chosen, strict=True) if clips]
