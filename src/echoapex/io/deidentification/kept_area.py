"""Which pixels of an ultrasound image may stay: the fan and the calibrated regions; everything else is blanked.

Inside a 2D region of the header only the fan stays, or the columns of a linear image. If neither is seen, the whole
region stays, because it may be any other picture. Only fans are certain to hold no margin with text in it, so that
anything else needs the search for text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from echoapex.domain import Sector
from echoapex.io.calibration import SpatialFormat, UltrasoundRegion
from echoapex.io.clip_source import ReadError
from echoapex.io.sector import Search, Shape, search_sector, sector_mask, sector_of

Image = UInt8[np.ndarray, "height width ..."]
Mask = Bool[np.ndarray, "height width"]
Box = tuple[float, float, float, float]

_TRACES = (SpatialFormat.M_MODE, SpatialFormat.SPECTRAL, SpatialFormat.WAVEFORM)
_NOT_BELIEVED = 0.98
_MOST_FRAMES = 12


@dataclass(frozen=True, eq=False)
class KeptArea:
    """The pixels that stay.

    Attributes:
        mask: all of them.
        tissue: those of 2D images, without traces; the share of blanked tissue refers to them.
        parts: how often each kind of area was kept, in words.
        is_certain: whether all of it are fans that were seen; otherwise a box of the header was believed.
    """

    mask: Mask
    tissue: Mask
    parts: tuple[str, ...]
    is_certain: bool


def find_kept_area(
    frames: Sequence[Image], size: tuple[int, int], regions: Sequence[UltrasoundRegion], display_name: str
) -> KeptArea:
    """Decide which pixels stay.

    Args:
        frames: some frames spread over the clip.
        size: height and width.
        regions: the ultrasound regions of the header.
        display_name: name of the file in the error.

    Raises:
        ReadError: there is no area to keep.
    """
    grey = np.stack([_grey(frame) for frame in frames[:_MOST_FRAMES]])
    area = _Area(grey, size)
    for region in regions:
        box = _inside(region, size)
        if box is not None and region.shows_a_plane:
            area.add_plane(box)
        elif box is not None and region.spatial_format in _TRACES:
            area.add_trace(box)
    if not area.parts:
        area.add_picture()
    if not area.parts or not area.mask.any():
        raise ReadError(
            display_name,
            "shows no ultrasound sector and has no calibrated region, so that all its pixels would be blanked",
            "leave it out: it may be a page of text or a photograph",
        )
    return KeptArea(area.mask, area.tissue, tuple(area.parts), area.is_certain)


class _Area:
    """Adds up the pixels that stay."""

    def __init__(self, grey: UInt8[np.ndarray, "frames height width"], size: tuple[int, int]) -> None:
        self._grey = grey
        self._size = size
        self.mask = np.zeros(size, bool)
        self.tissue = np.zeros(size, bool)
        self.parts: list[str] = []
        self.is_certain = True

    def add_plane(self, box: Box) -> None:
        """What is ultrasound in a 2D region."""
        search = search_sector(self._grey, box)
        sector = sector_of(search, self._size, box)
        if sector is not None:
            self._add(sector_mask(sector, self._size), "fan in a 2D region", is_tissue=True)
            return
        if _share(box, self._size) >= _NOT_BELIEVED:
            return
        self.is_certain = False
        if search.shape is Shape.RECTANGLE and search.area is not None:
            self._add(_box_mask(_columns(search, box), self._size), "linear image in a 2D region", is_tissue=True)
        else:
            self._add(_box_mask(box, self._size), "2D region of the header as a whole", is_tissue=True)

    def add_trace(self, box: Box) -> None:
        """An M-mode, a Doppler spectrum or an ECG, with its scale as far as it is in the region."""
        if _share(box, self._size) < _NOT_BELIEVED:
            self.is_certain = False
            self._add(_box_mask(box, self._size), "region of a trace", is_tissue=False)

    def add_picture(self) -> None:
        """The fan of a picture without regions."""
        sector = sector_of(search_sector(self._grey), self._size)
        if sector is not None:
            self._add(sector_mask(sector, self._size), "fan, without a region", is_tissue=True)

    def _add(self, mask: Mask, part: str, is_tissue: bool) -> None:
        self.mask |= mask
        self.parts.append(part)
        if is_tissue:
            self.tissue |= mask


def _grey(frame: Image) -> UInt8[np.ndarray, "height width"]:
    return frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def _inside(region: UltrasoundRegion, size: tuple[int, int]) -> Box | None:
    """The box of a region, cut to the image; None if it has none, or lies outside."""
    if region.box_xyxy is None:
        return None
    x0, y0, x1, y1 = region.box_xyxy
    height, width = size
    # a region of a picture that was scaled down later does not fit, and says nothing about places
    if x0 < 0 or y0 < 0 or x1 > width + 1 or y1 > height + 1 or x1 - x0 < 2 or y1 - y0 < 2:
        return None
    return (x0, y0, min(x1, float(width)), min(y1, float(height)))


def _share(box: Box, size: tuple[int, int]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1]) / (size[0] * size[1])


def _box_mask(box: Box, size: tuple[int, int]) -> Mask:
    return sector_mask(Sector(box), size)


def _columns(search: Search, box: Box) -> Box:
    """The columns of the densely lit area of a search, over the whole height of the region: deep tissue may be dark."""
    assert search.area is not None
    columns = np.flatnonzero(search.area.any(axis=0))
    x0, x1 = columns[0] / search.scale[0], (columns[-1] + 1) / search.scale[0]
    return (max(box[0], float(x0)), box[1], min(box[2], float(x1)), box[3])
