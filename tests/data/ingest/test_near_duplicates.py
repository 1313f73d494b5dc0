"""The rule by which frames go: closed-form hashes, exact thresholds, real clips."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from drawn_studies import draw_fan_clip
from real_files import real_dicom

from echoapex.data.ingest.unit_work import difference_hash, hamming_distance, mark_new
from echoapex.data.preprocess import prepare_frames
from echoapex.io.clip_file import ClipFile, open_clip
from echoapex.io.study_files import find_clips


def hash_with(*bits: int) -> np.ndarray:
    flags = np.zeros(256, bool)
    flags[list(bits)] = True
    return np.packbits(flags)


def test_a_hash_says_where_the_right_neighbour_is_brighter() -> None:
    falling = np.tile(np.linspace(255, 0, 17).astype(np.uint8), (16, 1))
    assert not difference_hash(falling).any()
    assert (difference_hash(np.ascontiguousarray(falling[:, ::-1])) == 255).all()
    one_step = falling.copy()
    one_step[3, 5] = 255
    assert np.flatnonzero(np.unpackbits(difference_hash(one_step))).tolist() == [3 * 16 + 4]


def test_distance_counts_bits() -> None:
    assert hamming_distance(np.stack([hash_with(0, 9, 255), hash_with()]), hash_with(9)).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("bits", "kept"),
    [
        (-1, [True, True, True, True, True]),
        (0, [True, False, True, True, True]),
        (1, [True, False, False, True, False]),
        (2, [True, False, False, False, False]),
    ],
)
def test_a_frame_goes_when_an_earlier_kept_one_is_near(bits: int, kept: list[bool]) -> None:
    hashes = np.stack([hash_with(), hash_with(), hash_with(1), hash_with(1, 2), hash_with(2)])
    assert mark_new(hashes, bits).tolist() == kept


def test_it_is_compared_with_kept_frames_only() -> None:
    """A slow drift is not dropped whole: 0, 1, 2, 3 bits at threshold 1 keep 0 and 2."""
    drift = np.stack([hash_with(*range(count)) for count in range(4)])
    assert mark_new(drift, 1).tolist() == [True, False, True, False]


def test_a_frozen_clip_is_one_frame_and_a_moving_one_stays() -> None:
    moving = np.stack([difference_hash(frame) for frame in draw_fan_clip(1, frames=8)])
    assert mark_new(moving, 2).all()
    frozen = np.repeat(moving[:1], 8, axis=0)
    assert mark_new(frozen, 0).sum() == 1


def test_256_bits_tell_frames_of_a_real_clip_apart_where_64_do_not() -> None:
    (clip,) = find_clips([real_dicom("color3d_jpeg_baseline.dcm")])
    assert isinstance(clip, ClipFile)
    frames = prepare_frames(open_clip(clip), 256).pixels
    assert len(frames) == 120
    small = [cv2.resize(frame, (9, 8), interpolation=cv2.INTER_AREA) for frame in frames]
    assert 50 < len({(each[:, 1:] > each[:, :-1]).tobytes() for each in small}) < 70
    assert len({difference_hash(frame).tobytes() for frame in frames}) > 110
