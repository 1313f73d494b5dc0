"""Frames that another clip shows as well: exports made twice, copies that were compressed anew.

The hash is that of :mod:`echoapex.data.ingest.near_duplicates`, which looks within a clip; here different clips are
compared, all with all, without comparing every pair: hashes that differ in ``bits`` places or fewer agree entirely in
at least one of ``bits + 1`` parts, so that only frames that share a part need a look.

Source: Manku et al., "Detecting near-duplicates for web crawling", 2007 (the pigeonhole search).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int, UInt8

_COMPARED_AT_ONCE = 1_000_000
_NOBODY = -1


def mark_copies(
    hashes: UInt8[np.ndarray, "frames 32"], clip: Int[np.ndarray, "frames"], bits: int
) -> Bool[np.ndarray, "frames"]:
    """Which frames are near-copies of an earlier frame of another clip that is no copy itself.

    Args:
        hashes: difference hashes, 256 bits.
        clip: number of the clip of each frame.
        bits: so many different bits or fewer make a copy; -1 finds none.
    """
    is_copy = np.zeros(len(hashes), bool)
    if bits < 0 or not len(hashes):
        return is_copy
    # of frames with the very same hash the pairs alone could fill the memory
    distinct, hash_of = np.unique(hashes, axis=0, return_inverse=True)
    close: defaultdict[int, set[int]] = defaultdict(set)
    for first, second in _close_pairs(distinct, bits):
        close[first].add(second)
        close[second].add(first)
    # all frames of a hash that are no copies are of one clip
    owner = np.full(len(distinct), _NOBODY)
    for frame, (own, of) in enumerate(zip(hash_of.ravel().tolist(), clip.tolist(), strict=True)):
        is_copy[frame] = any(owner[other] not in (_NOBODY, of) for other in (own, *close.get(own, ())))
        if not is_copy[frame]:
            owner[own] = of
    return is_copy


def _close_pairs(hashes: UInt8[np.ndarray, "hashes 32"], bits: int) -> Iterator[tuple[int, int]]:
    """Pairs in order that differ in few bits; a pair can come several times."""
    unpacked = np.unpackbits(hashes, axis=1)
    for part in range(bits + 1):
        # every so many bits: neighbours are alike, and a part of black corners alone would tell nothing apart
        key = np.packbits(unpacked[:, part :: bits + 1], axis=1)
        _, group = np.unique(key, axis=0, return_inverse=True)
        order = np.argsort(group.ravel(), kind="stable")
        starts = np.flatnonzero(np.diff(group.ravel()[order], prepend=-1))
        for start, end in zip(starts, np.append(starts[1:], len(order)), strict=True):
            if end - start > 1:
                yield from _close_within(hashes, order[start:end], bits)


def _close_within(hashes: np.ndarray, members: np.ndarray, bits: int) -> Iterator[tuple[int, int]]:
    inside = hashes[members]
    step = max(1, _COMPARED_AT_ONCE // len(members))
    for first in range(0, len(members), step):
        rows = inside[first : first + step]
        distance = np.bitwise_count(rows[:, None] ^ inside[None]).sum(axis=-1)
        for one, other in np.argwhere(distance <= bits):
            if members[first + one] < members[other]:
                yield int(members[first + one]), int(members[other])
