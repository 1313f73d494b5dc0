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
