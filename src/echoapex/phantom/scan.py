"""The polar grid of a sector scanner, and scan conversion to a square image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from echoapex.domain import Sector, Spacing
from echoapex.phantom.anatomy.geometry import Points, Vector
from echoapex.phantom.imaging import VENDOR_LOOKS, Imaging
from echoapex.phantom.views import Pose

NEAREST_MM = 2.0
"""Depth of the first sample."""
PAD_BEAMS = 8
"""Additional beams beyond each edge, so that the lateral blur does not wrap around."""
_APEX_MARGIN, _IMAGE_HEIGHT, _IMAGE_WIDTH = 0.012, 1.035, 1.02
"""Margins around the sector, as fractions of its depth and width."""
_GREY_LEVELS = 1024


class GridSize(NamedTuple):
    """Samples along a beam, and beams across the sector."""

    samples: int
    beams: int

    @classmethod
    def for_image(cls, size: int) -> GridSize:
        """A grid that is fine enough for an image of ``size`` x ``size`` pixels."""
        return cls(352, 128) if size > 160 else cls(224, 96)


class PolarGrid:
    """Sample positions of all beams including the padding: arrays are (samples, beams + 2 PAD_BEAMS)."""

    def __init__(self, pose: Pose, size: GridSize) -> None:
        self.pose = pose
        self.size = size
        self.sample_mm = (pose.depth_mm - NEAREST_MM) / (size.samples - 1)
        self.half_angle = math.radians(pose.field_of_view_deg) / 2
        self.beam_angle = 2 * self.half_angle / (size.beams - 1)
        self.ranges_mm = (NEAREST_MM + np.arange(size.samples) * self.sample_mm).astype(np.float32)
        beams = np.arange(-PAD_BEAMS, size.beams + PAD_BEAMS)
        self.angles = (beams * self.beam_angle - self.half_angle).astype(np.float32)
        self.x_mm = self.ranges_mm[:, None] * np.sin(self.angles)[None]
        self.y_mm = self.ranges_mm[:, None] * np.cos(self.angles)[None]
        self.points: Points = pose.heart_points(self.x_mm, self.y_mm)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of every field on the grid."""
        return self.x_mm.shape[0], self.x_mm.shape[1]

    @property
    def relative_angles(self) -> np.ndarray:
        """Beam angle in units of half the sector: -1 is the left edge."""
        return self.angles / self.half_angle


@dataclass(frozen=True, eq=False)
class _Interpolation:
    """For every pixel inside the sector: its four polar neighbours and their weights."""

    pixels: np.ndarray
    upper_left: np.ndarray
    range_weight: np.ndarray
    beam_weight: np.ndarray


class ScanConverter:
    """The square image: positions of its pixels in the plane, and conversion of polar samples to pixels.

    ``wing_crop`` between 0 and 1 says how much of the sides of the sector is cropped to fill the height.
    """

    def __init__(self, grid: PolarGrid, size: int, wing_crop: float) -> None:
        depth, half_angle = grid.pose.depth_mm, grid.half_angle
        self._pose, self._beams, self.size = grid.pose, grid.size.beams, size
        self.side_mm = image_side_mm(grid.pose, wing_crop)
        self.mm_per_px = self.side_mm / size
        self.top_mm = -(_APEX_MARGIN * depth + max(0.0, self.side_mm - depth * _IMAGE_HEIGHT) * 0.35)
        steps = (np.arange(size) + 0.5) * self.mm_per_px
        x, y = np.meshgrid(steps - self.side_mm / 2, steps + self.top_mm)
        distance, angle = np.hypot(x, y), np.arctan2(x, y)
        self.inside = (distance >= NEAREST_MM) & (distance <= depth) & (np.abs(angle) <= half_angle)
        self._interpolation = _interpolation(grid, distance[self.inside], angle[self.inside], self.inside)
        self.points: Points = grid.pose.heart_points(x[self.inside], y[self.inside])
        self._half_angle = half_angle

    @property
    def spacing(self) -> Spacing:
        """Calibration of the image."""
        return Spacing(row_mm=self.mm_per_px, column_mm=self.mm_per_px)

    @property
    def sector(self) -> Sector:
        """Outline of the imaged area in pixel centres, clipped to the image."""
        angles = np.linspace(-self._half_angle, self._half_angle, 49)
        far = [self._plane_pixel(self._pose.depth_mm, angle) for angle in angles]
        near = [self._plane_pixel(NEAREST_MM, angle) for angle in angles[::-8]]
        outline = _clip_to_square(near + far, -0.5, self.size - 0.5)
        rows, columns = np.flatnonzero(self.inside.any(1)), np.flatnonzero(self.inside.any(0))
        box = (columns[0] - 0.5, rows[0] - 0.5, columns[-1] + 0.5, rows[-1] + 0.5)
        x0, y0, x1, y1 = (float(edge) for edge in box)
        return Sector(box_xyxy=(x0, y0, x1, y1), polygon_xy=tuple(outline))

    def pixel_of(self, point: Vector) -> tuple[float, float]:
        """Pixel (x, y) of a point in the heart frame, projected onto the plane."""
        from_probe = np.asarray(point, float) - self._pose.position
        x, y = float(from_probe @ self._pose.right_axis), float(from_probe @ self._pose.depth_axis)
        return self._pixel(x, y)

    def convert(self, polar: np.ndarray, grey_map: np.ndarray) -> np.ndarray:
        """Convert a polar frame (samples, beams) to an image (size, size), float32 0 to 1, with a grey map."""
        samples = np.ascontiguousarray(polar).ravel()
        where = self._interpolation
        left, right = samples[where.upper_left], samples[where.upper_left + 1]
        upper = left + (right - left) * where.beam_weight
        left, right = samples[where.upper_left + self._beams], samples[where.upper_left + self._beams + 1]
        lower = left + (right - left) * where.beam_weight
        value = upper + (lower - upper) * where.range_weight
        image = np.zeros(self.size * self.size, np.float32)
        image[where.pixels] = grey_map[(value * (_GREY_LEVELS - 1) + 0.5).astype(np.int32)]
        return image.reshape(self.size, self.size)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values at ``points`` as an image; 0 outside the sector."""
        image = np.zeros((self.size, self.size), values.dtype)
        image[self.inside] = values
        return image

    def _plane_pixel(self, range_mm: float, angle: float) -> tuple[float, float]:
        return self._pixel(range_mm * math.sin(angle), range_mm * math.cos(angle))

    def _pixel(self, x_mm: float, y_mm: float) -> tuple[float, float]:
        return (x_mm + self.side_mm / 2) / self.mm_per_px - 0.5, (y_mm - self.top_mm) / self.mm_per_px - 0.5


def image_side_mm(pose: Pose, wing_crop: float) -> float:
    """Side of the square image in mm."""
    height = pose.depth_mm * _IMAGE_HEIGHT
    whole = max(height, 2 * pose.depth_mm * math.sin(math.radians(pose.field_of_view_deg) / 2) * _IMAGE_WIDTH)
    return whole + wing_crop * (height - whole)


def in_image(pose: Pose, point: Vector, wing_crop: float) -> bool:
    """Whether a point in the heart frame is inside the sector and the image, with a margin of 3 %."""
    from_probe = np.asarray(point, float) - pose.position
    x, y = float(from_probe @ pose.right_axis), float(from_probe @ pose.depth_axis)
    distance, angle = math.hypot(x, y), math.degrees(math.atan2(x, y))
    in_sector = 2 * NEAREST_MM < distance < 0.97 * pose.depth_mm and abs(angle) < 0.97 * pose.field_of_view_deg / 2
    return in_sector and abs(x) < 0.97 * image_side_mm(pose, wing_crop) / 2


def build_grey_map(imaging: Imaging) -> np.ndarray:
    """The displayed grey of each compressed level: a gamma curve with the S-shape of the vendor."""
    level = np.linspace(0, 1, _GREY_LEVELS)
    grey = level ** (imaging.gamma * 1.25)
    s_shape = grey * grey * (3 - 2 * grey)
    mapped: np.ndarray = (grey + 0.6 * VENDOR_LOOKS[imaging.vendor].contrast * (s_shape - grey)).astype(np.float32)
    return mapped


def _interpolation(grid: PolarGrid, distance: np.ndarray, angle: np.ndarray, inside: np.ndarray) -> _Interpolation:
    sample = (distance - NEAREST_MM) / grid.sample_mm
    beam = (angle + grid.half_angle) / grid.beam_angle
    row = np.clip(sample.astype(np.int32), 0, grid.size.samples - 2)
    column = np.clip(beam.astype(np.int32), 0, grid.size.beams - 2)
    return _Interpolation(
        pixels=np.flatnonzero(inside),
        upper_left=(row * grid.size.beams + column).astype(np.intp),
        range_weight=(sample - row).astype(np.float32),
        beam_weight=(beam - column).astype(np.float32),
    )


def _clip_to_square(polygon: list[tuple[float, float]], low: float, high: float) -> list[tuple[float, float]]:
    """Sutherland-Hodgman clipping at the four sides of a square."""
    for axis in (0, 1):
        for limit, sign in ((low, 1.0), (high, -1.0)):
            clipped: list[tuple[float, float]] = []
            for start, end in zip(polygon, polygon[1:] + polygon[:1], strict=True):
                before, after = sign * (start[axis] - limit), sign * (end[axis] - limit)
                if before >= 0:
                    clipped.append(start)
                if before * after < 0:
                    part = before / (before - after)
                    clipped.append((start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])))
            polygon = clipped
    return polygon
