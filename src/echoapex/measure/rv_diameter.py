"""RV internal diameter on PLAX at end-diastole (RVIDd), on the line of the LV walls extended through the RV.

The line runs from the posterior wall through the septum on to the anterior border of the RV, at the level of the mitral
leaflet tips, as in M-mode (Sahn et al., Circulation 1978, doi 10.1161/01.CIR.58.6.1072). Borders are those of the blood
(inner edge to inner edge; Lang et al., ASE/EACVI 2015, doi 10.1016/j.echo.2014.10.003, section on the right ventricle).

That guideline has no normal limits for this line. Its RV diameter on PLAX (20 to 30 mm) is that of the outflow tract,
which ends where the septum meets the aorta, and its other RV diameters are those of apical views.

Near the transducer the sector is narrow and often cuts the RV off. Where it does, there is no value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from echoapex.domain import Sector, Spacing, WallPoint
from echoapex.domain.clip import Size
from echoapex.measure.outline import (
    MeasureError,
    Outline,
    Point,
    distance_to_polygon,
    image_edges,
    line_crossings,
)

LARGEST_GAP_MM = 4.0
"""Farthest that the RV outline may begin from the RV side of the septum, to either side (ours)."""

EDGE_MARGIN_MM = 4.0
"""Least distance of the anterior border from the edge of sector and image (ours).

The free wall of the RV lies between, and outlines that the sector cuts off often end some millimetres before its edge.
"""


@dataclass(frozen=True)
class RvDiameter:
    """The RV internal diameter of one frame, in mm, and its two ends in native pixels (x, y)."""

    length_mm: float
    septum_xy: tuple[float, float]
    anterior_xy: tuple[float, float]


def measure_rv_diameter(
    points_xy: Mapping[WallPoint, tuple[float, float]], rv_outline_xy: Outline, spacing: Spacing
) -> RvDiameter:
    """Distance in mm from the RV side of the septum to the anterior border of the RV, on the line of the walls.

    The line goes through the first and the last wall point. Points and outline are in native pixels.

    >>> line = dict(zip(WallPoint, [(50, 100), (50, 120), (50, 220), (50, 240)], strict=True))
    >>> ventricle = np.array([[20.0, 58.0], [80.0, 58.0], [80.0, 98.0], [20.0, 98.0]])
    >>> measure_rv_diameter(line, ventricle, Spacing(row_mm=0.5, column_mm=0.4))
    RvDiameter(length_mm=21.0, septum_xy=(50.0, 100.0), anterior_xy=(50.0, 58.0))

    Raises:
        MeasureError: a point is missing, the line misses the RV or enters it twice, or the RV does not begin at the
            septum.
    """
    unit_xy = np.array([spacing.column_mm, spacing.row_mm])
    septum, direction = _line_of_walls(points_xy, unit_xy)
    crossings = line_crossings(np.asarray(rv_outline_xy, dtype=np.float64) * unit_xy, septum, direction)
    ahead = [(first, last) for first, last in crossings.reshape(-1, 2) if last > 0]
    if not ahead:
        raise MeasureError("the line of the walls does not meet the outline of the right ventricle")
    first, last = (float(end) for end in ahead[0])
    if first > LARGEST_GAP_MM:
        raise MeasureError(f"the outline of the right ventricle begins {first:.0f} mm away from the septum")
    if first < -LARGEST_GAP_MM:
        raise MeasureError(f"the outline of the right ventricle reaches {-first:.0f} mm into the septum")
    if len(ahead) > 1:
        raise MeasureError("the line of the walls leaves the right ventricle and enters it again")
    return RvDiameter(last, _as_pixel(septum, unit_xy), _as_pixel(septum + last * direction, unit_xy))


def require_border_in_image(
    diameter: RvDiameter, spacing: Spacing, size: Size, sector: Sector | None = None
) -> RvDiameter:
    """The same diameter, if its whole line and the border at its end were imaged.

    ``size`` is (height, width) of the frame in pixels.

    >>> reaching_up = RvDiameter(length_mm=21.0, septum_xy=(50.0, 100.0), anterior_xy=(50.0, 5.0))
    >>> require_border_in_image(reaching_up, Spacing(row_mm=0.5, column_mm=0.4), (300, 300))
    Traceback (most recent call last):
    ...
    echoapex.measure.outline.MeasureError: the image or its sector ends at the anterior border of the right ventricle

    Raises:
        MeasureError: the line leaves the image or the sector, or ends within ``EDGE_MARGIN_MM`` of its edge.
    """
    unit_xy = np.array([spacing.column_mm, spacing.row_mm])
    septum, border = (np.asarray(end) * unit_xy for end in (diameter.septum_xy, diameter.anterior_xy))
    length = float(np.linalg.norm(border - septum))
    for edge_xy in image_edges(size, sector):
        edge = edge_xy * unit_xy
        crossings = line_crossings(edge, septum, (border - septum) / length)
        is_inside = np.count_nonzero(crossings > length) % 2 == 1 and not np.any(
            (crossings >= 0) & (crossings <= length)
        )
        if not is_inside or distance_to_polygon(border[None], edge)[0] < EDGE_MARGIN_MM:
            raise MeasureError("the image or its sector ends at the anterior border of the right ventricle")
    return diameter


def _line_of_walls(points_xy: Mapping[WallPoint, tuple[float, float]], unit_xy: Point) -> tuple[Point, Point]:
    """In mm: the RV side of the septum, and the unit vector from there away from the LV."""
    ends = (WallPoint.SEPTUM_RV_SIDE, WallPoint.POSTERIOR_WALL_EPICARDIUM)
    missing = [point.value for point in ends if point not in points_xy]
    if missing:
        raise MeasureError(f"the wall points {', '.join(missing)} are missing; the line runs through them")
    septum, posterior = (np.asarray(points_xy[point], dtype=np.float64) * unit_xy for point in ends)
    length = float(np.linalg.norm(septum - posterior))
    if not length > 0:
        raise MeasureError("the wall points coincide; check them")
    return septum, (septum - posterior) / length


def _as_pixel(point_mm: Point, unit_xy: Point) -> tuple[float, float]:
    x, y = point_mm / unit_xy
    return float(x), float(y)
