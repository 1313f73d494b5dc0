"""Frames that show nothing new: frozen ones, and those that differ from an earlier frame in next to nothing.

The rule. A frame is reduced to 16 rows of 17 pixels; each pixel is compared with its right neighbour, which gives 256
bits (a difference hash, Krawetz 2013). Frames are looked at in their order; one goes when its bits differ from those of
an earlier frame of the same clip that was kept in ``near_duplicate_bits`` places or fewer. 256 bits rather than the
usual 64: in a heart that beats in a still sector most of the 64 never change.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

SIDE = 16


def difference_hash(frame: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "32"]:
    """The 256 bits of a frame, eight to a byte, row by row."""
    small = cv2.resize(frame, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(small[:, 1:] > small[:, :-1])


def hamming_distance(one: UInt8[np.ndarray, "*n 32"], other: UInt8[np.ndarray, "32"]) -> np.ndarray:
    """In how many bits hashes differ."""
    return np.asarray(np.bitwise_count(one ^ other).sum(axis=-1))


def mark_new(hashes: UInt8[np.ndarray, "frames 32"], near_duplicate_bits: int) -> Bool[np.ndarray, "frames"]:
    """Which frames to keep: those that differ in more bits from every earlier frame that is kept.

    Args:
        hashes: hashes of the frames of one clip, in their order.
        near_duplicate_bits: so many bits or fewer make a near-duplicate; -1 keeps every frame.
    """
    is_new = np.zeros(len(hashes), bool)
    for number, found in enumerate(hashes):
        is_new[number] = not (hamming_distance(hashes[is_new], found) <= near_duplicate_bits).any()
    return is_new
