"""Chooses the frames of a store that are embedded, and finds near-copies among frames of different clips.

The frames of one clip are alike, so a few of them describe it. Each clip is cut into stretches of equal length; the
middle frame of a stretch represents all its frames.

Near-copies come from exports that were made twice and from copies that were compressed again. Frames are compared by
the same difference hash as within a clip in :mod:`echoapex.data.ingest.unit_work`. All frames are compared with all
without testing every pair: two hashes that differ in at most ``bits`` places are identical in at least one of
``bits + 1`` parts, so only frames that share a part are compared.

Source: Manku et al., "Detecting near-duplicates for web crawling", 2007 (the pigeonhole search).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt8

from echoapex.curation.selection import PixelDigest
from echoapex.data.stores.frame_store import FrameStore

_DESCRIBED = ("clip", "patient", "vendor", "probe", "content")
UNKNOWN = "unknown"
_COMPARED_AT_ONCE = 1_000_000
_NOBODY = -1


@dataclass(frozen=True, eq=False)
class Naming:
    """One category per sampled frame: a code for each frame, and the word for each code."""

    codes: Int[np.ndarray, "sampled"]
    words: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class FrameSample:
    """The frames of a store that are embedded.

    Attributes:
        rows: their numbers in the store, ascending.
        representative: for every frame of the store, the sampled frame that represents it.
        stands_for: number of frames that each sampled frame represents, itself included.
        about: categories of the sampled frames by ``clip``, ``patient``, ``vendor``, ``probe`` and ``content``.
        store_sha256: digest of all pixels of the store.
    """

    rows: Int[np.ndarray, "sampled"]
    representative: Int[np.ndarray, "frames"]
    stands_for: Int[np.ndarray, "sampled"]
    about: dict[str, Naming]
    store_sha256: str

    def __len__(self) -> int:
        return len(self.rows)


def choose_sample(store: FrameStore, frames_per_clip: int) -> FrameSample:
    """Choose the frames of a store that are embedded; the same store gives the same frames.

    Needs about 100 bytes of memory for each frame of the store; pixels are not kept.

    Args:
        store: the frames to curate; at least one.
        frames_per_clip: frames chosen from each clip; a clip with fewer frames gives all of them.

    Raises:
        StoreError: the store cannot be read.
    """
    columns = {name: _Words() for name in _DESCRIBED}
    codes: dict[str, list[np.ndarray]] = {name: [] for name in (*_DESCRIBED, "frame")}
    digest = PixelDigest()
    for run in store.scan(*_DESCRIBED, "frame", "pixels"):
        digest.add(run["pixels"])
        codes["frame"].append(run["frame"])
        for name, words in columns.items():
            codes[name].append(words.number(run[name]))
    found = {name: np.concatenate(parts) for name, parts in codes.items()}
    rows, representative = _middles(found["clip"], found["frame"], frames_per_clip)
    return FrameSample(
        rows=rows,
        representative=representative,
        stands_for=np.bincount(representative, minlength=len(rows)),
        about={name: Naming(found[name][rows], tuple(words.known)) for name, words in columns.items()},
        store_sha256=digest.hexdigest(),
    )


def _middles(
    clip: Int[np.ndarray, "frames"], frame: Int[np.ndarray, "frames"], per_clip: int
) -> tuple[Int[np.ndarray, "sampled"], Int[np.ndarray, "frames"]]:
    """The middle frame of every stretch, and for every frame the position of its middle frame in that list."""
    order = np.lexsort((frame, clip))
    sizes = np.bincount(clip)
    stretches = np.minimum(sizes, per_clip)
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    place = np.arange(len(clip)) - np.repeat(first, sizes)
    stretch = place * np.repeat(stretches, sizes) // np.repeat(sizes, sizes)
    stretch += np.repeat(np.concatenate([[0], np.cumsum(stretches)[:-1]]), sizes)
    starts = np.flatnonzero(np.diff(stretch, prepend=-1))
    lengths = np.diff(starts, append=len(stretch))
    middles = order[starts + lengths // 2]
    ranks = np.empty(len(middles), np.int32)
    ranks[np.argsort(middles)] = np.arange(len(middles))
    representative = np.empty(len(clip), np.int32)
    representative[order] = ranks[stretch]
    return np.sort(middles), representative


class _Words:
    """Numbers for words, in the order in which they are met."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def number(self, words: np.ndarray) -> Int[np.ndarray, "words"]:
        found, places = np.unique(np.asarray(words, str), return_inverse=True)
        numbers = [self.known.setdefault(str(word) or UNKNOWN, len(self.known)) for word in found]
        return np.asarray(numbers, np.int32)[places]


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
