"""Regions and times as plain values."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.tag import Tag
from synthetic_dicom import region

from echoapex.io.calibration import TimingElements, UltrasoundRegion
from echoapex.io.dicom.reader import read_regions, read_timing


def test_a_region_is_read() -> None:
    dataset = Dataset()
    dataset.SequenceOfUltrasoundRegions = [region((4, 5, 60, 70), (0.02, -0.03))]
    assert read_regions(dataset) == (UltrasoundRegion(1, 1, (4, 5, 60, 70), 3, 3, 0.02, -0.03),)


def test_missing_elements_are_none() -> None:
    item = region((4, 5, 60, 70))
    del item.RegionLocationMaxX1, item.PhysicalDeltaY, item.RegionDataType
    dataset = Dataset()
    dataset.SequenceOfUltrasoundRegions = [item]
    assert read_regions(dataset) == (UltrasoundRegion(1, None, None, 3, 3, 0.05, None),)


def test_no_regions() -> None:
    dataset = Dataset()
    assert read_regions(dataset) == ()
    dataset.SequenceOfUltrasoundRegions = []
    assert read_regions(dataset) == ()


def test_time_elements() -> None:
    dataset = Dataset()
    dataset.FrameTimeVector = ["0", "20"]
    dataset.FrameTime, dataset.CineRate, dataset.EffectiveDuration = "33.3", "18", "2"
    dataset.FrameIncrementPointer = Tag("FrameTimeVector")
    assert read_timing(dataset) == TimingElements((0, 20), 33.3, 18, 2, vector_is_pointed_to=True)


def test_lesser_time_elements() -> None:
    dataset = Dataset()
    dataset.ActualFrameDuration, dataset.RecommendedDisplayFrameRate = "40", "25"
    assert read_timing(dataset) == TimingElements((), 40, 25, None, vector_is_pointed_to=False)
