"""Near-copies are exactly those that comparing every pair would find."""

from __future__ import annotations

import numpy as np
import pytest

from echoapex.curation.sample import _close_pairs, mark_copies
from echoapex.data.ingest.unit_work import hamming_distance


def flipped(hashed: np.ndarray, bits: list[int]) -> np.ndarray:
    unpacked = np.unpackbits(hashed)
    unpacked[bits] ^= 1
    return np.packbits(unpacked)


@pytest.fixture
def original() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, 32, np.uint8)


def test_the_later_of_two_clips_is_the_copy(original: np.ndarray) -> None:
    hashes = np.stack([original, flipped(original, [3, 100, 101, 255])])
    assert mark_copies(hashes, np.array([0, 1]), 4).tolist() == [False, True]
    assert mark_copies(hashes, np.array([0, 1]), 3).tolist() == [False, False]
    assert mark_copies(hashes, np.array([0, 0]), 4).tolist() == [False, False], "frames of one clip are no copies"


def test_minus_one_finds_none(original: np.ndarray) -> None:
    hashes = np.stack([original, original])
    assert mark_copies(hashes, np.array([0, 1]), -1).tolist() == [False, False]
    assert mark_copies(hashes, np.array([0, 1]), 0).tolist() == [False, True]
    assert mark_copies(hashes[:0], np.zeros(0, int), 4).tolist() == []


def test_a_copy_of_a_copy_only_stays(original: np.ndarray) -> None:
    # the third resembles the second, which goes, but not the first
    second = flipped(original, [0, 1, 2])
    hashes = np.stack([original, second, flipped(second, [10, 11, 12])])
    assert mark_copies(hashes, np.arange(3), 3).tolist() == [False, True, False]


@pytest.mark.parametrize("bits", [0, 1, 6, 20])
def test_as_if_every_pair_was_compared(bits: int) -> None:
    rng = np.random.default_rng(bits)
    seeds = rng.integers(0, 256, (12, 32), np.uint8)
    hashes = np.stack(
        [flipped(seeds[rng.integers(12)], rng.integers(0, 256, rng.integers(0, 9)).tolist()) for _ in range(80)]
    )
    clip = np.arange(80) // 2
    expected = np.zeros(80, bool)
    for frame in range(80):
        near = hamming_distance(hashes[:frame], hashes[frame]) <= bits
        expected[frame] = (near & ~expected[:frame] & (clip[:frame] != clip[frame])).any()
    assert expected.any()
    assert mark_copies(hashes, clip, bits).tolist() == expected.tolist()


def test_a_picture_that_many_clips_show_makes_no_pairs(original: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def counted(hashes: np.ndarray, bits: int) -> list[tuple[int, int]]:
        compared.extend(_close_pairs(hashes, bits))
        return compared

    monkeypatch.setattr("echoapex.curation.sample._close_pairs", counted)
    hashes = np.stack([original] * 200 + [flipped(original, [7])])
    assert mark_copies(hashes, np.arange(201), 4).tolist() == [False] + [True] * 200
    assert set(compared) == {(0, 1)}
