"""Crops hold enough of the fan, have the size and share that was asked for, and keep their orientation."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from echoapex.data.augment import AugmentConfig
from echoapex.data.crops import CropConfig, CropKind, FrameCropper, inside_sector

SIZE = 96
SMALL = CropKind(count=6, side=32, scale=(0.05, 0.3))
LARGE = CropKind(count=2, side=64, scale=(0.4, 1.0))
UNTOUCHED = AugmentConfig(**dict.fromkeys(AugmentConfig.model_fields, 0))


def fan(size: int = SIZE) -> np.ndarray:
    """A sector of speckle of which about a third fills the frame."""
    rows, columns = np.mgrid[:size, :size]
    inside = np.abs(columns - size / 2) < 0.45 * rows
    grey = np.random.default_rng(0).integers(30, 200, (size, size))
    return (grey * (inside & (rows < 0.9 * size))).astype(np.uint8)


def plain(**changes: object) -> CropConfig:
    values = {"global_crops": LARGE, "local_crops": SMALL, "beam_probability": 0, "appearance": UNTOUCHED}
    return CropConfig(**{**values, **changes})


def test_windows_hold_their_share_of_the_fan_where_unguided_ones_often_do_not() -> None:
    image = fan()
    inside = inside_sector(image)
    shares = {}
    for wanted in (0.0, 0.5):
        rng, cropper = np.random.default_rng(1), FrameCropper(image, plain(sector_share=wanted))
        shares[wanted] = np.array([cropper.window(rng, SMALL).of(inside).mean() for _ in range(300)])
    assert (shares[0.0] < 0.5).mean() > 0.2
    assert (shares[0.5] < 0.5).mean() < 0.02


def test_the_share_is_counted_over_the_pixels_of_the_window() -> None:
    image = fan()
    cropper, rng = FrameCropper(image, plain(sector_share=0)), np.random.default_rng(2)
    for _ in range(50):
        window = cropper.window(rng, SMALL)
        assert cropper.sector_share(window) == pytest.approx(window.of(inside_sector(image)).mean())


def test_where_no_window_suffices_the_fullest_of_ten_is_taken() -> None:
    image = np.zeros((SIZE, SIZE), np.uint8)
    image[40:52, 40:52] = 90
    cropper, rng = FrameCropper(image, plain(sector_share=1.0)), np.random.default_rng(0)
    shares = [cropper.sector_share(cropper.window(rng, SMALL)) for _ in range(100)]
    assert 0.1 < np.mean(shares) < 1
    black = FrameCropper(np.zeros((SIZE, SIZE), np.uint8), plain()).draw(np.random.default_rng(0), SMALL)
    assert black.shape == (6, 32, 32)
    assert black.max() == 0


def test_windows_have_the_area_and_the_aspect_that_was_asked_for() -> None:
    cropper, rng = FrameCropper(fan(), plain(sector_share=0)), np.random.default_rng(3)
    windows = [cropper.window(rng, SMALL) for _ in range(300)]
    areas = np.array([w.height * w.width for w in windows]) / SIZE**2
    aspects = np.array([w.width / w.height for w in windows])
    assert 0.04 < areas.min() < 0.08
    assert 0.27 < areas.max() < 0.32
    assert 0.68 < aspects.min() < 0.8
    assert 1.25 < aspects.max() < 1.47
    for window in windows:
        assert 0 <= window.top <= SIZE - window.height
        assert 0 <= window.left <= SIZE - window.width


def test_nothing_is_flipped_unless_asked() -> None:
    ramp = np.tile(np.linspace(20, 250, SIZE).astype(np.uint8), (SIZE, 1))
    for probability, rises in ((0.0, 1.0), (1.0, 0.0)):
        config = plain(flip_probability=probability)
        crops = FrameCropper(ramp, config).draw(np.random.default_rng(0), LARGE).astype(int)
        assert (crops[:, :, -1] > crops[:, :, 0]).mean() == rises
    assert CropConfig().flip_probability == 0


def test_the_whole_frame_is_a_crop_like_any_other() -> None:
    image = fan()
    whole = CropKind(count=1, side=SIZE, scale=(1.0, 1.0))
    (crop,) = FrameCropper(image, plain(aspect=1.0)).draw(np.random.default_rng(0), whole)
    assert (crop != image).mean() < 0.02, "but for grey dots outside the fan, which count as black"


def test_scanners_differ_between_crops_and_the_same_generator_repeats_them() -> None:
    config = CropConfig(global_crops=LARGE, local_crops=SMALL)
    first, second = (FrameCropper(fan(), config).draw(np.random.default_rng(5), LARGE) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    whole = CropKind(count=8, side=64, scale=(1.0, 1.0))
    levels = FrameCropper(fan(), config).draw(np.random.default_rng(6), whole).mean(axis=(1, 2))
    assert levels.std() > 5


def test_what_cannot_be_cropped_is_refused() -> None:
    with pytest.raises(ValidationError, match="must rise within 0 and 1"):
        CropKind(count=2, side=32, scale=(0.5, 0.2))
    with pytest.raises(ValidationError, match="the teacher compares exactly 2"):
        CropConfig(global_crops=SMALL)
