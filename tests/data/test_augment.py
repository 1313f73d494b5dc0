"""Pixels, labels and points move together, orientation is kept, and one scanner looks at all frames of a clip."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoapex.data.augment import Appearance, AugmentConfig, plain_warp, random_warp
from echoapex.domain import FrameTransform

STRONG = AugmentConfig()
NONE = AugmentConfig(**dict.fromkeys(AugmentConfig.model_fields, 0.0))
SIZE = 96

quick = settings(max_examples=20, deadline=None)
seeds = st.integers(0, 10_000)


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def fan(size: int = SIZE) -> np.ndarray:
    """Speckle in a triangle under the top centre, black elsewhere."""
    rows, columns = np.mgrid[0:size, 0:size]
    inside = np.abs(columns - size / 2) < 0.6 * rows
    speckle = rng_of(0).integers(20, 220, (size, size))
    return np.where(inside, speckle, 0).astype(np.uint8)


@pytest.mark.parametrize(("source", "target"), [(192, 160), (64, 64), (50, 131)])
def test_the_plain_warp_is_the_resize_of_the_domain(source: int, target: int) -> None:
    points = np.array([[0.0, 0.0], [12.5, 30.0], [source - 1.0, source - 1.0]])
    resize = FrameTransform.crop_resize((0, 0, source, source), (source, source), (target, target))
    assert np.allclose(plain_warp(source, target).points(points), resize.map_points(points))


def test_without_augmentation_the_random_warp_is_plain() -> None:
    assert np.allclose(random_warp(rng_of(1), 192, 160, NONE).matrix, plain_warp(192, 160).matrix)


@quick
@given(seeds, st.floats(0.3, 0.7), st.floats(0.3, 0.7))
def test_image_labels_and_points_move_together(seed: int, x: float, y: float) -> None:
    warp = random_warp(rng_of(seed), 192, 160, STRONG)
    centre = np.rint(np.array([x, y]) * 192)
    picture = np.zeros((192, 192), np.uint8)
    cv2.circle(picture, (int(centre[0]), int(centre[1])), 9, 255, cv2.FILLED)
    expected = warp.points(centre[None])[0]
    image = warp.image(picture).astype(float)
    rows, columns = np.mgrid[0:160, 0:160]
    centroid = np.array([(image * columns).sum(), (image * rows).sum()]) / image.sum()
    assert np.allclose(centroid, expected, atol=0.1)
    labels = warp.labels((picture // 255 * 4).astype(np.uint8))
    assert set(np.unique(labels)) <= {0, 4}, "labels are never mixed"
    found = np.argwhere(labels == 4).mean(axis=0)[::-1]
    assert np.allclose(found, expected, atol=0.5)


@quick
@given(seeds)
def test_orientation_is_kept_and_strengths_are_limits(seed: int) -> None:
    linear = random_warp(rng_of(seed), 160, 160, STRONG).matrix[:, :2]
    turned_degrees = np.degrees(np.arctan2(linear[1, 0], linear[0, 0]))
    assert np.linalg.det(linear) > 0, "never a mirror image"
    assert abs(turned_degrees) <= STRONG.rotation_degrees + 1e-9
    assert (1 + STRONG.scale) ** -2 <= np.linalg.det(linear) <= (1 + STRONG.scale) ** 2
    widths = np.linalg.norm(linear, axis=0)
    assert (1 + STRONG.aspect) ** -2 <= widths[0] / widths[1] <= (1 + STRONG.aspect) ** 2
    centre = np.full((1, 2), 79.5)
    shift = random_warp(rng_of(seed), 160, 160, STRONG).points(centre) - centre
    assert np.abs(shift).max() <= STRONG.shift * 160 + 1e-9


def test_without_augmentation_the_image_is_untouched() -> None:
    image = np.clip(fan(), 1, None)
    assert np.array_equal(Appearance(rng_of(0), SIZE, NONE)(image, rng_of(1)), image)


@quick
@given(seeds)
def test_what_is_outside_the_fan_stays_black(seed: int) -> None:
    image = fan()
    seen = Appearance(rng_of(seed), SIZE, STRONG)(image, rng_of(seed + 1))
    near_the_fan = cv2.dilate((image > 0).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert seen.shape == image.shape
    assert not seen[~near_the_fan].any()


@quick
@given(seeds)
def test_all_frames_are_seen_by_one_scanner(seed: int) -> None:
    quiet = STRONG.model_copy(update={"noise": 0.0})
    scanner = Appearance(rng_of(seed), SIZE, quiet)
    image = fan()
    assert np.array_equal(scanner(image, rng_of(1)), scanner(image, rng_of(2)))
    again = Appearance(rng_of(seed), SIZE, quiet)
    assert np.array_equal(again(image, rng_of(3)), scanner(image, rng_of(1)))


def test_receiver_noise_is_new_in_every_frame_and_repeats_with_its_generator() -> None:
    noisy = NONE.model_copy(update={"noise": 0.2})
    seed = next(s for s in range(20) if not same_twice(s, noisy))
    scanner = Appearance(rng_of(seed), SIZE, noisy)
    assert np.array_equal(scanner(fan(), rng_of(1)), scanner(fan(), rng_of(1)))


def same_twice(seed: int, config: AugmentConfig) -> bool:
    scanner = Appearance(rng_of(seed), SIZE, config)
    return np.array_equal(scanner(fan(), rng_of(1)), scanner(fan(), rng_of(2)))


def test_scanners_differ() -> None:
    seen = {Appearance(rng_of(seed), SIZE, STRONG)(fan(), rng_of(0)).tobytes() for seed in range(10)}
    assert len(seen) == 10


@quick
@given(seeds)
def test_the_grey_curve_never_turns_bright_into_dark(seed: int) -> None:
    curves_only = NONE.model_copy(update={"gamma": 0.5, "contrast": 0.35, "gain": 0.25})
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    curve = Appearance(rng_of(seed), 256, curves_only)(ramp, rng_of(0))[128].astype(int)
    assert curve[0] == 0
    deepest_dip = (np.maximum.accumulate(curve) - curve).max()
    assert deepest_dip <= 12
    assert curve[255] - curve[32] > 60


def test_clutter_greys_the_cavities_and_leaves_the_outside_black() -> None:
    cluttered = NONE.model_copy(update={"clutter": 0.5, "clutter_probability": 1.0})
    image = fan()
    cavity = np.s_[50:70, 40:56]
    image[cavity] = 2
    for seed in range(5):
        seen = Appearance(rng_of(seed), SIZE, cluttered)(image, rng_of(seed))
        assert seen[cavity].mean() > 5
        assert seen[cavity].std() > 1, "clutter has speckle"
        assert seen[cavity].mean() < seen[75:, 40:56].mean(), "tissue stays brighter"
        assert not seen[10, :20].any()


def test_a_cut_sector_keeps_its_middle() -> None:
    cutting = NONE.model_copy(update={"sector_probability": 1.0})
    image = np.full((SIZE, SIZE), 100, np.uint8)
    for seed in range(10):
        kept = Appearance(rng_of(seed), SIZE, cutting)(image, rng_of(0)) > 0
        assert kept[SIZE // 2, SIZE // 2]
        assert not kept[0, 0]
        assert 0.2 < kept.mean() < 0.95


@quick
@given(seeds)
def test_another_texture_keeps_what_is_bright_and_what_is_black(seed: int) -> None:
    textured = NONE.model_copy(update={"texture_probability": 1.0})
    image = fan()
    image[50:70, 40:56] = 2
    seen = Appearance(rng_of(seed), SIZE, textured)(image, rng_of(0))
    assert not seen[image == 0].any()
    assert seen[image > 0].min() >= 1
    assert seen[53:67, 43:53].mean() < seen[75:, 40:56].mean(), "a cavity stays darker than tissue"


def test_textures_differ_and_are_rare_when_asked() -> None:
    rare = NONE.model_copy(update={"texture_probability": 0.3})
    seen = [Appearance(rng_of(seed), SIZE, rare)(fan(), rng_of(0)) for seed in range(60)]
    changed = [image for image in seen if not np.array_equal(image, fan())]
    assert 6 <= len(changed) <= 32
    assert len({image.tobytes() for image in changed}) == len(changed)


def test_less_depth_enlarges_about_the_probe_and_cuts_off_what_lies_deep() -> None:
    still = AugmentConfig(scale=0, shift=0, rotation_degrees=0, aspect=0, shallow=0.5)
    zooms = []
    for seed in range(40):
        warp = random_warp(np.random.default_rng(seed), 64, 64, still)
        zooms.append(warp.matrix[0, 0])
        assert warp.points(np.array([[31.5, 0.0]])) == pytest.approx(np.array([[31.5, 0.0]]))
        assert warp.matrix[0, 0] == warp.matrix[1, 1]
    assert 1 == min(zooms) < max(zooms) < 1.5
    assert 10 < zooms.count(1) < 30, "half of the clips keep their depth"
    heart = np.zeros((64, 64), np.uint8)
    heart[50:60] = 1
    deepest = random_warp(np.random.default_rng(int(np.argmax(zooms))), 64, 64, still)
    assert deepest.labels(heart).sum() < 0.5 * heart.sum()
