"""Which example comes next: a keyed permutation with no state but (seed, position).

Because the order is a pure function of the seed and the position, a resumed run sees exactly the examples that an
uninterrupted run would have seen, on any number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np


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
    """The example at ``position`` when the groups (views, say) take turns and each group is shuffled by itself.

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
    """As :func:`shuffled_index`, without a table: for stores of many millions of examples.

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
    """The places of a batch of ``size`` that belong to process ``rank`` of ``count``; all parts together are the batch.

    >>> own_places(6, 1, 3, "task.frames.batch_size")
    range(2, 4)

    Raises:
        ValueError: the batch cannot be divided evenly; names the ``key`` of the recipe that would help.
    """
    if size % count:
        raise ValueError(
            f"a batch of {size} frames or clips cannot be divided evenly among {count} processes; "
            f"make {key} a multiple of {count}"
        )
    own = size // count
    return range(rank * own, (rank + 1) * own)
