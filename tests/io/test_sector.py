"""The sector on phantom clips with known truth, on drawn images, and on real clips."""

import cv2
import numpy as np
import pytest
from real_files import shared_data

from echoapex.domain import Sector
from echoapex.io.sector import Shape, find_sector, search_sector, sector_mask
from echoapex.phantom import simulate_clip
from echoapex.vocabulary import View


def _overlap(found: Sector | None, truth: np.ndarray) -> float:
    if found is None:
        return 0.0
    mask = sector_mask(found, truth.shape)
    return float((mask & truth).sum() / (mask | truth).sum())


def _fan_mask(size: tuple[int, int], apex: tuple[float, float], half_angle_deg: float, radius: float) -> np.ndarray:
    rows, columns = np.indices(size)
    dx, dy = columns - apex[0], rows - apex[1]
    inside = np.abs(np.degrees(np.arctan2(dx, dy))) < half_angle_deg
    return inside & (np.hypot(dx, dy) < radius)


def _speckle(mask: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Flickering speckle inside the mask, black outside."""
    rng = np.random.default_rng(seed)
    frames = rng.rayleigh(40, (count, *mask.shape)).clip(12, 255)
    return (frames * mask).astype(np.uint8)


@pytest.mark.parametrize("view", [View.A4C, View.PLAX, View.SUPRASTERNAL, View.TEE_LAX])
def test_finds_the_fan_of_the_phantom(view: View) -> None:
    clip = simulate_clip(view, 1007, frames=8, label_frames="none")

    found = find_sector(clip.frames)

    assert _overlap(found, sector_mask(clip.sector, clip.frames.shape[1:])) > 0.93


def test_screen_furniture_is_left_out() -> None:
    fan = _fan_mask((480, 640), (320, 30), 40, 380)
    frames = _speckle(fan, 12)
    for index, frame in enumerate(frames):
        cv2.putText(frame, "ADULT ECHO 15cm", (5, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
        frame[80:260, 600:618] = np.linspace(255, 0, 180)[:, None].astype(np.uint8)  # colour bar
        frame[40:420:19, 570:576] = 255  # ruler
        trace = 450 + (12 * np.sin(np.arange(640) / 9 + index)).astype(int)  # scrolling ECG
        frame[trace, np.arange(640)] = 255

    found = find_sector(frames)

    assert _overlap(found, fan) > 0.97
    mask = sector_mask(found, fan.shape)
    assert not mask[80:260, 600:618].any()
    assert not mask[440:].any()
    assert not mask[:45, :200].any()


def test_a_fan_cut_by_the_image_edge_stays_inside_the_image() -> None:
    fan = _fan_mask((300, 260), (130, -20), 44, 300)

    found = find_sector(_speckle(fan, 6))

    assert _overlap(found, fan) > 0.96
    x0, y0, x1, y1 = found.box_xyxy
    assert min(x0, y0) >= -1e-6
    assert x1 <= 260 + 1e-6
    assert y1 <= 300 + 1e-6


def test_black_chambers_and_shadowed_corners_belong_to_the_fan() -> None:
    fan = _fan_mask((400, 500), (250, 20), 42, 350)
    lit = fan.copy()
    lit[150:220] = False  # a black vessel across the whole fan
    lit[260:, 380:] = False  # no contact at one side

    found = find_sector(_speckle(lit, 8))

    assert _overlap(found, fan) > 0.9


def test_a_linear_array_is_a_rectangle_and_no_sector() -> None:
    mask = np.zeros((300, 400), bool)
    mask[40:260, 60:330] = True

    assert search_sector(_speckle(mask, 5)).shape is Shape.RECTANGLE
    assert find_sector(_speckle(mask, 5)) is None


@pytest.mark.parametrize("level", [25, 60, 128, 235])
@pytest.mark.parametrize("bar", [False, True])
def test_a_grey_or_light_screen_is_background(level: int, bar: bool) -> None:
    fan = _fan_mask((480, 640), (320, 40), 40, 380)
    frames = np.where(fan, _speckle(fan, 4), level).astype(np.uint8)
    if bar:
        frames[:, :30] = 90  # a title bar
    for frame in frames:
        cv2.putText(frame, "DOE JANE 1957-03-12", (20, 70), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255 if level < 120 else 0, 2)

    found = find_sector(frames)

    assert _overlap(found, fan) > 0.95
    assert not sector_mask(found, fan.shape)[45:75, 15:260].any()


def test_a_black_gap_does_not_cut_off_half_of_a_fan() -> None:
    fan = _fan_mask((400, 500), (250, 20), 38, 350)
    rows, columns = np.indices(fan.shape)
    angle = np.degrees(np.arctan2(columns - 250, rows - 20))
    lit = fan & ~((np.abs(angle + 4) < 9) & (rows > 90))  # a shadow from top to bottom

    assert _overlap(find_sector(_speckle(lit, 1)), fan) > 0.9


def test_dark_tissue_is_seen_at_a_second_look() -> None:
    fan = _fan_mask((300, 400), (200, 10), 40, 270)
    frame = (_speckle(fan, 1)[0] // 8).astype(np.uint8)

    assert _overlap(find_sector(frame[None]), fan) > 0.9


def test_a_single_frame_and_a_frozen_clip_do_too() -> None:
    fan = _fan_mask((300, 400), (200, 10), 40, 270)
    still = _speckle(fan, 1)

    assert _overlap(find_sector(still), fan) > 0.95
    assert _overlap(find_sector(np.repeat(still, 5, axis=0)), fan) > 0.95


def test_large_images_are_searched_reduced_and_come_back_in_native_pixels() -> None:
    fan = _fan_mask((1500, 2000), (1000, 50), 40, 1350)

    assert _overlap(find_sector(_speckle(fan, 4)), fan) > 0.96


@pytest.mark.parametrize("level", [0, 20, 255])
def test_an_even_image_has_no_sector(level: int) -> None:
    assert find_sector(np.full((6, 200, 300), level, np.uint8)) is None or level == 255


def test_text_alone_is_no_sector() -> None:
    frame = np.zeros((400, 600), np.uint8)
    for row in range(40, 400, 40):
        cv2.putText(frame, "Patient information and settings", (10, row), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 1)

    assert find_sector(frame[None]) is None


def test_only_the_region_is_searched() -> None:
    left = _fan_mask((300, 600), (150, 10), 35, 250)
    right = _fan_mask((300, 600), (450, 10), 35, 280)

    found = find_sector(_speckle(left | right, 6), region_box_xyxy=(0, 0, 300, 300))

    assert _overlap(found, left) > 0.95
    assert found.box_xyxy[2] <= 300 + 1e-6


def test_frames_must_be_grey_bytes() -> None:
    with pytest.raises(ValueError, match="uint8"):
        find_sector(np.zeros((3, 10, 10), np.float32))
    with pytest.raises(ValueError, match="uint8"):
        find_sector(np.zeros((0, 10, 10), np.uint8))


def test_a_box_stands_in_for_a_missing_polygon() -> None:
    mask = sector_mask(Sector((2, 1, 5, 4)), (6, 8))

    assert mask.sum() == 9
    assert mask[1:4, 2:5].all()


@pytest.mark.parametrize("view", ["A2C", "PLAX", "PSAX-PM"])
def test_real_clips(view: str) -> None:
    paths = sorted(shared_data("ailabs_clips", view).glob("*.jpg"))[::8]
    frames = np.stack([cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths])

    found = find_sector(frames)

    # read off the images: corners at both edges, transducer near the top, arc near the bottom; the ruler on the right
    # reaches no further than the fan does
    assert found.box_xyxy == pytest.approx((1, 16, 646, 470), abs=4)
    assert len(found.polygon_xy) > 50
