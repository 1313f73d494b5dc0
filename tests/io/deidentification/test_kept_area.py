"""Which pixels stay, by regions and by what the picture shows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from deidentified import SIZE, fan_frames
from drawn_studies import draw_sector
from synthetic_dicom import region

from echoapex.io.clip_source import ReadError
from echoapex.io.deidentification.kept_area import KeptArea, find_kept_area
from echoapex.io.dicom.reader import read_regions

FAN = draw_sector(SIZE, 1)[0] > 0


def area_of(frames: np.ndarray, *items: object) -> KeptArea:
    from pydicom.dataset import Dataset

    dataset = Dataset()
    dataset.SequenceOfUltrasoundRegions = list(items)
    return find_kept_area(list(frames), frames.shape[1:3], read_regions(dataset), "a.dcm")


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def linear_frames() -> np.ndarray:
    rng = np.random.default_rng(3)
    frames = np.zeros((3, 200, 300), np.uint8)
    texture = cv2.GaussianBlur(rng.rayleigh(60, (3, 150, 180)).transpose(1, 2, 0), (0, 0), 1.2)
    frames[:, 20:170, 50:230] = np.clip(texture, 12, 255).astype(np.uint8).transpose(2, 0, 1)
    return frames


def test_only_the_fan_of_a_2d_region_stays() -> None:
    found = area_of(fan_frames(), region((0, 0, SIZE[1] - 1, SIZE[0] - 1)))
    assert overlap(found.mask, FAN) > 0.95
    assert found.parts == ("fan in a 2D region",)
    assert found.is_certain
    assert np.array_equal(found.mask, found.tissue)


def test_without_regions_the_fan_of_the_picture_stays() -> None:
    found = area_of(fan_frames())
    assert overlap(found.mask, FAN) > 0.95
    assert found.parts == ("fan, without a region",)


def test_a_linear_image_keeps_its_columns_and_the_rows_of_the_region() -> None:
    found = area_of(linear_frames(), region((5, 15, 290, 180)))
    rows, columns = np.nonzero(found.mask)
    assert (rows.min(), rows.max()) == (15, 180)
    assert abs(columns.min() - 50) <= 4
    assert abs(columns.max() - 229) <= 4
    assert not found.is_certain


def test_a_region_without_a_fan_stays_whole_but_is_not_certain() -> None:
    frames = np.zeros((2, 200, 300), np.uint8)
    frames[:, 80:90, 60:200] = 90
    found = area_of(frames, region((40, 50, 239, 149)))
    assert found.mask.sum() == 200 * 100
    assert found.parts == ("2D region of the header as a whole",)
    assert not found.is_certain


@pytest.mark.parametrize("kind", [2, 3, 4])
def test_the_box_of_a_trace_stays_beside_the_fan(kind: int) -> None:
    frames = np.zeros((3, 240, 160), np.uint8)
    frames[:, :120] = fan_frames()
    trace = region((10, 150, 149, 229), RegionSpatialFormat=kind)
    found = area_of(frames, region((0, 0, 159, 119)), trace)
    assert found.mask[150:230, 10:150].all()
    assert not found.mask[125:148].any()
    assert not found.tissue[150:230].any()
    assert set(found.parts) == {"fan in a 2D region", "region of a trace"}
    assert not found.is_certain


@pytest.mark.parametrize(
    "item",
    [
        region((0, 0, 299, 199)),  # as large as the picture, without a fan in it
        region((0, 0, 299, 199), RegionSpatialFormat=3),
        region((10, 10, 200, 100), RegionSpatialFormat=5),  # graphics
        region((10, 10, 200, 100), RegionDataType=14),  # a colour bar
        region((10, 10, 900, 900)),  # of a larger picture
        region((50, 50, 50, 50)),
    ],
)
def test_a_region_that_cannot_be_believed_keeps_nothing(item: object) -> None:
    frames = np.zeros((2, 200, 300), np.uint8)
    cv2.putText(frames[0], "QUARTZ 1950", (20, 100), 0, 1.0, 255, 2)
    frames[1] = frames[0]
    with pytest.raises(ReadError, match="no ultrasound sector"):
        area_of(frames, item)


def test_a_picture_without_ultrasound_is_refused() -> None:
    with pytest.raises(ReadError, match="all its pixels would be blanked; leave it out"):
        area_of(np.zeros((2, 200, 300), np.uint8))
