"""Traits of drawn fans: each says what it is meant to say."""

import cv2
import numpy as np
import pytest
from drawn_studies import draw_sector

from echoapex.io.content import PictureTraits, measure_traits
from echoapex.io.sector import largest_textured_area, search_sector

SIZE = (360, 480)


def traits(frames: np.ndarray, colour: np.ndarray | None = None) -> PictureTraits:
    return measure_traits(search_sector(frames), colour)


@pytest.fixture(scope="module")
def ultrasound() -> np.ndarray:
    return draw_sector(SIZE, 2)


def test_a_fan_of_speckle_has_the_traits_of_ultrasound(ultrasound: np.ndarray) -> None:
    found = traits(ultrasound)

    assert found.opening_deg == pytest.approx(75.6, abs=3)
    assert found.near < 0.1
    assert found.share == pytest.approx((ultrasound[0] > 0).mean(), rel=0.06)
    assert found.sides > 0.95
    assert found.rim_dark > 0.97
    assert found.beside == 0
    assert found.bound > 0.6
    assert found.even < 0.1
    assert found.axial > 0.2
    assert found.turning == pytest.approx(1, abs=0.25)
    assert found.coloured == 0


def test_the_grain_of_a_strip_does_not_turn(ultrasound: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    level = cv2.GaussianBlur(rng.rayleigh(70, SIZE).astype(np.float32), (0, 0), sigmaX=6, sigmaY=1)
    strip = np.where(ultrasound > 0, np.clip(level, 12, 255), 0).astype(np.uint8)

    found = traits(strip)

    assert abs(found.turning) < 0.3


def test_noise_is_not_bound_and_a_drawing_is_even(ultrasound: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(12, 255, ultrasound.shape, dtype=np.uint8)
    assert traits(np.where(ultrasound > 0, noise, 0).astype(np.uint8)).bound < 0.2
    assert traits(np.where(ultrasound > 0, 30, 0).astype(np.uint8)).even > 0.9


def test_what_lies_beside_is_measured(ultrasound: np.ndarray) -> None:
    frames = np.zeros((2, 360, 760), np.uint8)
    frames[:, :, :480] = ultrasound
    frames[:, 40:160, 560:740] = draw_sector((480, 640), 2)[:, 200:320, 240:420]

    search = search_sector(frames)
    area = largest_textured_area(search)

    assert search.fan is not None and area is not None
    assert area[:, 345:].sum() == area.sum()  # 0.63 reduced pixels to a native one
    expected = 120 * 180 / (ultrasound[0] > 0).sum()
    assert measure_traits(search, None).beside == pytest.approx(expected, rel=0.25)


def test_colour_and_small_pictures(ultrasound: np.ndarray) -> None:
    tinted = np.repeat(ultrasound[0][..., None], 3, axis=2)
    tinted[..., 2] //= 4
    assert traits(ultrasound, tinted).coloured > 0.3
    assert traits(draw_sector((112, 112), 2)).turning == 1.0


def test_there_are_no_traits_without_a_fan() -> None:
    with pytest.raises(ValueError, match="fan"):
        traits(np.zeros((2, 100, 100), np.uint8))
