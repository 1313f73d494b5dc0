"""The ultrasound regions and the time elements of a DICOM data set, as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from echoapex.io.calibration import UltrasoundRegion
from echoapex.io.dicom_values import integer_of, number_of, numbers_of, value_of
from echoapex.io.frame_times import TimingElements

_MAX_REGIONS = 1000
_CORNERS = (
    "RegionLocationMinX0",
    "RegionLocationMinY0",
    "RegionLocationMaxX1",
    "RegionLocationMaxY1",
)


def read_regions(dataset: Dataset) -> tuple[UltrasoundRegion, ...]:
    """Every item of SequenceOfUltrasoundRegions (0018,6011); elements that cannot be read are None."""
    items: Iterable[Any] | None = value_of(dataset, "SequenceOfUltrasoundRegions")
    if items is None or isinstance(items, str | bytes):
        return ()
    return tuple(_read_region(item) for item in list(items)[:_MAX_REGIONS] if isinstance(item, Dataset))


def read_timing(dataset: Dataset) -> TimingElements:
    """The elements of the cine and multi-frame modules that say when frames were acquired."""
    return TimingElements(
        frame_time_vector_ms=numbers_of(dataset, "FrameTimeVector"),
        frame_time_ms=number_of(dataset, "FrameTime") or number_of(dataset, "ActualFrameDuration"),
        rate_hz=number_of(dataset, "CineRate") or number_of(dataset, "RecommendedDisplayFrameRate"),
        duration_s=number_of(dataset, "EffectiveDuration"),
        vector_is_pointed_to=value_of(dataset, "FrameIncrementPointer") == tag_for_keyword("FrameTimeVector"),
    )


def _read_region(item: Dataset) -> UltrasoundRegion:
    corners = [integer_of(item, keyword) for keyword in _CORNERS]
    x0, y0, x1, y1 = corners
    complete = x0 is not None and y0 is not None and x1 is not None and y1 is not None
    return UltrasoundRegion(
        spatial_format=integer_of(item, "RegionSpatialFormat"),
        data_type=integer_of(item, "RegionDataType"),
        corners=(x0, y0, x1, y1) if complete else None,  # type: ignore[arg-type]
        unit_x=integer_of(item, "PhysicalUnitsXDirection"),
        unit_y=integer_of(item, "PhysicalUnitsYDirection"),
        delta_x=number_of(item, "PhysicalDeltaX"),
        delta_y=number_of(item, "PhysicalDeltaY"),
    )
