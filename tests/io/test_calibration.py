"""Every way in which ultrasound regions give a spacing, or a named reason why they do not."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoapex.io.calibration import UltrasoundRegion, calibrate
from echoapex.io.clip_source import ReadFlag

SIZE = (480, 640)
BLANK = [np.zeros(SIZE, np.uint8)]
PLANE = UltrasoundRegion(1, 1, (84, 31, 595, 414), 3, 3, 0.05, 0.05)


def fan(size: tuple[int, int], tip_xy: tuple[int, int], radius: int) -> np.ndarray:
    """A speckled fan that opens downwards."""
    canvas = np.zeros(size, np.uint8)
    cv2.ellipse(canvas, tip_xy, (radius, radius), 90, -42, 42, 255, thickness=-1)
    speckle = np.random.default_rng(0).integers(40, 200, size).astype(np.uint8)
    return np.where(canvas > 0, speckle, 0).astype(np.uint8)


def test_a_plane_in_centimetres_gives_millimetres() -> None:
    calibration = calibrate([PLANE], SIZE, BLANK)
    assert calibration.spacing is not None
    assert (calibration.spacing.row_mm, calibration.spacing.column_mm) == pytest.approx((0.5, 0.5))
    assert calibration.flags == ()
    assert calibration.sector is not None and calibration.sector.box_xyxy == (84.0, 31.0, 596.0, 415.0)


def test_anisotropic_spacing_is_kept() -> None:
    spacing = calibrate([replace(PLANE, delta_x=0.02, delta_y=0.03)], SIZE, BLANK).spacing
    assert spacing is not None
    assert (spacing.row_mm, spacing.column_mm) == pytest.approx((0.3, 0.2))


def test_a_negative_delta_is_taken_absolutely_with_a_flag() -> None:
    calibration = calibrate([replace(PLANE, delta_y=-0.05)], SIZE, BLANK)
    assert calibration.spacing is not None and calibration.spacing.row_mm == pytest.approx(0.5)
    assert calibration.flags == (ReadFlag.NEGATIVE_DELTA,)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"unit_x": 4}, "not cm"),
        ({"unit_y": 0}, "not cm"),
        ({"unit_x": None}, "not cm"),
        ({"delta_x": 0.0}, "zero"),
        ({"delta_y": None}, "zero"),
        ({"delta_x": 3.0}, "impossible pixel size"),
        ({"delta_y": 1e-9}, "impossible pixel size"),
        ({"corners": None}, "no location"),
        ({"corners": (50, 50, 50, 90)}, "impossible location"),
        ({"corners": (-5, 0, 50, 90)}, "impossible location"),
        ({"spatial_format": 3}, "no 2D"),
        ({"data_type": 14}, "no 2D"),
    ],
)
def test_a_region_that_cannot_be_used_is_refused_by_name(change: dict[str, object], reason: str) -> None:
    calibration = calibrate([replace(PLANE, **change)], SIZE, BLANK)  # type: ignore[arg-type]
    assert calibration.spacing is None
    assert reason in calibration.reason


def test_without_regions_there_is_no_spacing() -> None:
    assert calibrate([], SIZE, BLANK).reason == "the header has no ultrasound regions"


def test_other_regions_beside_the_plane_do_not_matter() -> None:
    trace = UltrasoundRegion(4, 10, (0, 420, 639, 479), 4, 0, 0.01, 0.0)
    bar = UltrasoundRegion(1, 14, (600, 0, 620, 200), 0, 0, 0.0, 0.0)
    assert calibrate([trace, PLANE, bar], SIZE, BLANK).spacing is not None


def test_planes_that_agree_within_one_percent_are_one() -> None:
    right = replace(PLANE, corners=(320, 31, 620, 414), delta_x=0.0504)
    calibration = calibrate([replace(PLANE, corners=(10, 31, 310, 414)), right], SIZE, BLANK)
    assert calibration.spacing is not None
    assert ReadFlag.SEVERAL_2D_REGIONS in calibration.flags


def test_planes_that_disagree_are_refused() -> None:
    right = replace(PLANE, delta_x=0.0506)
    assert "disagree" in calibrate([PLANE, right], SIZE, BLANK).reason


def test_a_far_corner_counted_from_one_still_fits() -> None:
    assert calibrate([replace(PLANE, corners=(0, 0, 640, 480))], SIZE, BLANK).spacing is not None


def test_a_reduced_copy_is_corrected_where_the_picture_agrees() -> None:
    whole = fan(SIZE, (340, 35), 375)
    x, y, width, height = cv2.boundingRect(whole)
    region = replace(PLANE, corners=(x, y, x + width - 1, y + height - 1))
    half = cv2.resize(whole, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    calibration = calibrate([region], (240, 320), [half])
    assert calibration.reduction == 2
    assert calibration.spacing is not None and calibration.spacing.row_mm == pytest.approx(1.0)
    assert ReadFlag.CORRECTED_SPACING in calibration.flags
    assert calibration.sector is not None
    assert calibration.sector.box_xyxy == pytest.approx((x / 2, y / 2, (x + width) / 2, (y + height) / 2))


@pytest.mark.parametrize("corner_xy", [(0, 0), (160, 100), (320, 240), (160, 0)])
def test_a_cropped_image_is_refused(corner_xy: tuple[int, int]) -> None:
    x, y = corner_xy
    part = fan(SIZE, (340, 35), 375)[y : y + 240, x : x + 320]
    calibration = calibrate([PLANE], (240, 320), [part])
    assert calibration.spacing is None
    assert "does not fit" in calibration.reason


@pytest.mark.parametrize("corners", [(84, 31, 700, 414), (0, 0, 1279, 479), (0, 0, 99_999, 99_999)])
def test_an_overshoot_along_one_axis_or_by_far_is_refused(corners: tuple[int, int, int, int]) -> None:
    picture = fan(SIZE, (340, 35), 375)
    assert "does not fit" in calibrate([replace(PLANE, corners=corners)], SIZE, [picture]).reason


@given(
    delta_x=st.floats(0.0005, 0.4),
    delta_y=st.floats(0.0005, 0.4),
    signs=st.tuples(st.sampled_from((-1, 1)), st.sampled_from((-1, 1))),
)
def test_spacing_is_ten_times_the_delta_whatever_its_sign(
    delta_x: float, delta_y: float, signs: tuple[int, int]
) -> None:
    region = replace(PLANE, delta_x=signs[0] * delta_x, delta_y=signs[1] * delta_y)
    spacing = calibrate([region], SIZE, BLANK).spacing
    assert spacing is not None
    assert spacing.column_mm == pytest.approx(10 * delta_x)
    assert spacing.row_mm == pytest.approx(10 * delta_y)


@given(
    corners=st.tuples(*[st.integers(-2000, 5000)] * 4),
    delta=st.floats(allow_nan=True, allow_infinity=True),
    unit=st.none() | st.integers(0, 12),
)
def test_any_region_gives_a_spacing_or_a_reason(
    corners: tuple[int, int, int, int], delta: float, unit: int | None
) -> None:
    region = UltrasoundRegion(1, 1, corners, unit, unit, delta, delta)
    calibration = calibrate([region], SIZE, BLANK)
    assert (calibration.spacing is None) == bool(calibration.reason)
