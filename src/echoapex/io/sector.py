"""Where the ultrasound is: the fan (or rectangle) inside an image, without ECG strip, text, colour bar and tick marks.

What tells ultrasound from the furniture of a screen is that it fills its area densely, and in a clip that it moves:
text and rulers stand still, an ECG trace is thin and lights each pixel only now and then. The found area is explained
as a fan (two straight sides meeting in an apex, closed by an arc), as a rectangle (linear array) or, where neither
fits, as its convex hull, so that dark corners and drop-outs of the fan belong to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from echoapex.domain import Sector

Box = tuple[float, float, float, float]
Mask = Bool[np.ndarray, "height width"]
Points = Float[np.ndarray, "points 2"]

WORKING_SIZE_PX = 480
"""The longer side of the reduced image that is searched."""

MOST_FRAMES = 24
"""Frames looked at; more are thinned out evenly."""

_LIT_ABOVE_BACKGROUND = 7
_OFTEN = 0.2
_MOVING_DEVIATION = 2.0
_MOVING_AREA = 0.02
_LEAST_AREA = 0.02
_PART_OF_MOVING_FAN = 0.02
_PART_OF_STILL_FAN = 0.15
_RECTANGLE_FILL = 0.93
_FAN_COVERED = 0.5
_FAN_ENCLOSING = 0.97
_LEAST_OPENING_RAD = np.deg2rad(15)
_MOST_TILT_RAD = np.deg2rad(15)
_LEAST_SHARE_OF_ARC = 0.1
_HALF_ANGLES_DEG = np.arange(-15.0, 80.0, 0.5)


def find_sector(frames: UInt8[np.ndarray, "frames height width"], region_box_xyxy: Box | None = None) -> Sector | None:
    """Find the imaged area from several grey frames of one clip (a single frame does, less surely).

    Args:
        frames: frames spread over the clip; about sixteen are plenty.
        region_box_xyxy: pixel edges of a region that is known to hold the ultrasound (a DICOM region); only its inside
            is searched.

    Returns:
        The sector, its polygon in pixel centres clipped to the image, or None when nothing in the image looks like
        ultrasound (all black, or only text).

    Raises:
        ValueError: the frames are not uint8 (frames, height, width), or there is none.
    """
    if frames.dtype != np.uint8 or frames.ndim != 3 or 0 in frames.shape:
        raise ValueError(f"find_sector wants uint8 frames (frames, height, width), got {frames.dtype} {frames.shape}")
    reduced, scale = _reduce(_thin_out(frames))
    window = _region_mask(reduced.shape[1:], region_box_xyxy, scale)
    evidence, lit, moves = _ultrasound_evidence(reduced, window)
    areas = _dense_areas(evidence, _PART_OF_MOVING_FAN if moves else _PART_OF_STILL_FAN)
    if not areas:
        return None
    outline = _explain(areas, lit)
    native = (outline + 0.5) / scale - 0.5
    return _sector_from_outline(native, (frames.shape[1], frames.shape[2]), region_box_xyxy)


def sector_mask(sector: Sector, size: tuple[int, int]) -> Mask:
    """The inside of a sector as a boolean image ``size``; the box stands in where there is no polygon."""
    if len(sector.polygon_xy) >= 3:
        return _filled(np.asarray(sector.polygon_xy), size)
    mask = np.zeros(size, bool)
    x0, y0, x1, y1 = (max(0, round(edge)) for edge in sector.box_xyxy)
    mask[y0:y1, x0:x1] = True
    return mask


def _thin_out(frames: UInt8[np.ndarray, "frames height width"]) -> UInt8[np.ndarray, "fewer height width"]:
    wanted = np.linspace(0, len(frames) - 1, min(len(frames), MOST_FRAMES)).round().astype(int)
    return frames if len(wanted) == len(frames) else frames[wanted]


def _reduce(frames: UInt8[np.ndarray, "frames height width"]) -> tuple[UInt8[np.ndarray, "frames h w"], Points]:
    """The frames with the longer side at most ``WORKING_SIZE_PX``, and the scale along x and y."""
    height, width = frames.shape[1:]
    shrink = min(1.0, WORKING_SIZE_PX / max(height, width))
    if shrink == 1.0:
        return frames, np.ones(2)
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
    return small, np.array([size[0] / width, size[1] / height])


def _region_mask(size: tuple[int, ...], box_xyxy: Box | None, scale: Points) -> Mask:
    mask = np.zeros(size, bool)
    if box_xyxy is None:
        mask[:] = True
    else:
        x0, y0, x1, y1 = np.round(np.asarray(box_xyxy) * np.tile(scale, 2)).astype(int)
        mask[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = True
    return mask


def _ultrasound_evidence(frames: UInt8[np.ndarray, "frames h w"], window: Mask) -> tuple[Mask, Mask, bool]:
    """Pixels lit in a fair share of the frames and, where the clip moves at all, moving; those lit; does it move?"""
    background = np.bincount(frames[0].ravel(), minlength=256)[:40].argmax()
    lit: Mask = ((frames > background + _LIT_ABOVE_BACKGROUND).mean(axis=0) >= _OFTEN) & window
    if len(frames) < 3:
        return lit, lit, False
    total, squares = (np.zeros(lit.shape, np.float32) for _ in range(2))
    for frame in frames:
        cv2.accumulate(frame, total)
        cv2.accumulateSquare(frame, squares)
    variance = squares / len(frames) - (total / len(frames)) ** 2
    # speckle flickers in every neighbourhood even where single pixels happen to rest
    moving = cv2.dilate((variance >= _MOVING_DEVIATION**2).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    both: Mask = lit & moving
    moves = bool(both.mean() >= _MOVING_AREA)
    return (both if moves else lit), lit, moves


def _dense_areas(evidence: Mask, least_part: float) -> list[Mask]:
    """Areas that are mostly evidence at the scale of a line of text: the largest, and it with every other large one.

    Black chambers and shadows can cut a fan into several areas. ``least_part`` is the size from which another area
    counts, as a share of the largest. Empty when there is no area of any size.
    """
    window = max(3, round(0.035 * min(evidence.shape))) | 1
    density = cv2.boxFilter(evidence.astype(np.float32), -1, (window, window), borderType=cv2.BORDER_REFLECT)
    dense = (density >= 0.5).astype(np.uint8)
    # bridges thinner than a line of text (an ECG trace or a ruler touching the fan) are cut
    thick = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (window, window))
    opened = cv2.morphologyEx(dense, cv2.MORPH_OPEN, thick)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    sizes = statistics[:, cv2.CC_STAT_AREA].copy()
    sizes[0] = 0
    best = int(sizes.argmax())
    if sizes[best] < _LEAST_AREA * evidence.size:
        return []
    large = np.flatnonzero(sizes >= least_part * sizes[best])
    return [labels == best] if len(large) == 1 else [labels == best, np.isin(labels, large)]


def _without_marks(lit: Mask) -> Mask:
    """Lit pixels without dots and strokes, such as the mark beside the transducer."""
    stroke = max(3, round(0.018 * min(lit.shape))) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (stroke, stroke))
    return np.asarray(cv2.morphologyEx(lit.astype(np.uint8), cv2.MORPH_OPEN, kernel), bool)


@dataclass(frozen=True)
class _Side:
    """A line ``normal . point = offset`` that supports the area on one side; ``touching_px`` of its edge lie on it."""

    normal: Points
    offset: float
    touching_px: int


@dataclass(frozen=True)
class _Fan:
    outline: Points
    covered: float
    enclosing: float
    score: float


def _explain(areas: list[Mask], lit: Mask) -> Points:
    """The outline of the simplest shape that explains an area: rectangle, fan, or else the convex hull."""
    rectangle = _as_rectangle(areas[0])
    if rectangle is not None:
        return rectangle
    hulls = [_hull(area) for area in areas]
    fans = [_fit_fan(area, hull, lit) for area, hull in zip(areas, hulls, strict=True)]
    good = [fan for fan in fans if fan is not None and fan.covered > _FAN_COVERED and fan.enclosing > _FAN_ENCLOSING]
    return max(good, key=lambda fan: fan.score).outline if good else hulls[0]


def _as_rectangle(area: Mask) -> Points | None:
    hull = _hull(area)
    (x0, y0), (x1, y1) = hull.min(axis=0), hull.max(axis=0)
    if cv2.contourArea(hull.astype(np.float32)) <= _RECTANGLE_FILL * (x1 - x0 + 1) * (y1 - y0 + 1):
        return None
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _edge_points(area: Mask) -> Points:
    contours, _ = cv2.findContours(area.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.concatenate([contour[:, 0] for contour in contours]).astype(np.float64)


def _hull(area: Mask) -> Points:
    return np.asarray(cv2.convexHull(_edge_points(area).astype(np.int32))[:, 0], np.float64)


def _fit_fan(area: Mask, hull: Points, lit: Mask) -> _Fan | None:
    """The fan with its apex above whose sides follow the edge of the area longest and which the area fills best."""
    edge = _edge_points(area)
    height, width = area.shape
    # where the image cuts the fan, its edge is the border of the image and says nothing of the fan
    inside = (edge > 0.5).all(axis=1) & (edge[:, 0] < width - 1.5) & (edge[:, 1] < height - 1.5)
    if inside.sum() < 20:
        return None
    lefts, rights = (_candidate_sides(edge[inside], hull, outward) for outward in (-1.0, 1.0))
    fans = [_fan_between(left, right, area, lit) for left in lefts for right in rights]
    return max((fan for fan in fans if fan is not None), key=lambda fan: fan.score, default=None)


def _candidate_sides(edge: Points, hull: Points, outward: float) -> list[_Side]:
    """The supporting lines on one side (outward -1 left, +1 right) that touch the edge longest, at most four."""
    half_angles = np.deg2rad(_HALF_ANGLES_DEG)
    normals = np.stack([outward * np.cos(half_angles), -np.sin(half_angles)], axis=1)
    support = (hull @ normals.T).max(axis=0)
    tolerance = 0.008 * float(np.ptp(hull, axis=0).max()) + 0.5
    touching = (support - edge @ normals.T < tolerance).sum(axis=0)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(touching, 8, constant_values=0), 17)
    peaks = np.flatnonzero((touching == around.max(axis=1)) & (touching > 0.2 * touching.max()))
    best = peaks[np.argsort(-touching[peaks], kind="stable")][:4]
    return [_Side(normals[k], float(support[k]), int(touching[k])) for k in best]


def _fan_between(left: _Side, right: _Side, area: Mask, lit: Mask) -> _Fan | None:
    """The fan between two sides, or None when they meet nowhere a transducer could be."""
    sweep = (-float(np.arcsin(-left.normal[1])), float(np.arcsin(-right.normal[1])))
    if sweep[1] - sweep[0] < _LEAST_OPENING_RAD or abs(sweep[0] + sweep[1]) > 2 * _MOST_TILT_RAD:
        return None
    apex = np.linalg.solve(np.array([left.normal, right.normal]), np.array([left.offset, right.offset]))
    rows, columns = np.nonzero(area)
    height, top = area.shape[0], rows.min()
    if not top - 2.0 * height < apex[1] < top + 0.1 * height:
        return None
    distances = np.hypot(columns - apex[0], rows - apex[1])
    farthest = float(np.percentile(distances, 99.9))
    nearest = _nearest_radius(lit, apex, sweep, (float(distances.min()), farthest))
    outline = _fan_outline(apex, sweep, (nearest, farthest))
    fan = _filled(outline, area.shape)
    both = float((fan & area).sum())
    # scored up to the apex: the lower half of a fan that a black vessel cuts is no fan of its own
    wedge = _filled(_fan_outline(apex, sweep, (0.0, farthest)), area.shape)
    touching = (left.touching_px + right.touching_px) / farthest
    score = float((wedge & area).sum()) / max(1, int(wedge.sum())) + 0.25 * touching
    return _Fan(outline, both / max(1, int(fan.sum())), both / float(area.sum()), score)


def _filled(outline: Points, size: tuple[int, ...]) -> Mask:
    filled = np.zeros(size, np.uint8)
    # a sixteenth of a pixel is kept, so that the edge is not biased by rounding
    cv2.fillPoly(filled, [np.round(outline * 16).astype(np.int32)], 1, lineType=cv2.LINE_8, shift=4)
    return filled.astype(bool)


def _nearest_radius(lit: Mask, apex: Points, sweep: tuple[float, float], radii: tuple[float, float]) -> float:
    """Where the fan begins: up from the dense area for as long as a fair share of every arc is lit.

    ``radii`` are the nearest and the farthest of the dense area. Marks beside the transducer are dots and strokes with
    a gap to the fan: small gaps are crossed without dots and strokes, and a dim near field is crossed without gaps.
    """
    farthest = radii[1]
    rows, columns = np.indices(lit.shape)
    radius = np.hypot(columns - apex[0], rows - apex[1])
    angle = np.arctan2(columns - apex[0], rows - apex[1])
    margin = 0.1 * (sweep[1] - sweep[0])
    within = (angle > sweep[0] + margin) & (angle < sweep[1] - margin) & (radius < farthest)
    bins = radius[within].astype(int)
    total = np.maximum(np.bincount(bins, minlength=int(farthest) + 1), 1)
    empty = np.bincount(bins, _without_marks(lit)[within], minlength=len(total)) / total < _LEAST_SHARE_OF_ARC
    dark = np.bincount(bins, lit[within], minlength=len(total)) / total < _LEAST_SHARE_OF_ARC
    middle = min(len(total) // 2, int(radii[0]) + 1)
    gap = max(2, round(0.03 * farthest))
    runs = np.convolve(empty, np.ones(gap))[:middle] >= gap
    begin = int(np.flatnonzero(runs)[-1]) + 1 if runs.any() else 0
    gaps = np.flatnonzero(dark[:begin])
    return float(gaps[-1] + 1) if len(gaps) else 0.0


def _fan_outline(apex: Points, angles: tuple[float, float], radii: tuple[float, float]) -> Points:
    """Corner points of a fan; ``angles`` are measured from straight down, towards larger x."""
    sweep = np.linspace(angles[0], angles[1], 48)
    directions = np.stack([np.sin(sweep), np.cos(sweep)], axis=1)
    far = apex + radii[1] * directions
    near = apex + max(0.0, radii[0]) * directions[::-1]
    return np.concatenate([far, near])


def _sector_from_outline(outline: Points, size: tuple[int, int], region_box_xyxy: Box | None) -> Sector | None:
    """Clip an outline in native pixel centres to the image (and the region), and box it."""
    height, width = size
    x0, y0, x1, y1 = region_box_xyxy or (0.0, 0.0, float(width), float(height))
    frame = (max(0.0, x0), max(0.0, y0), min(float(width), x1) - 1.0, min(float(height), y1) - 1.0)
    clipped = _clip_polygon(outline, frame)
    if len(clipped) < 3:
        return None
    (left, top), (right, bottom) = clipped.min(axis=0), clipped.max(axis=0)
    # a pixel with its centre at c lies between the edges c and c + 1
    box = (float(left), float(top), float(right) + 1.0, float(bottom) + 1.0)
    return Sector(box, tuple((round(float(x), 2), round(float(y), 2)) for x, y in clipped))


def _clip_polygon(polygon: Points, frame: Box) -> Points:
    """Sutherland and Hodgman (1974): the part of a polygon inside an upright rectangle (x0, y0, x1, y1)."""
    points = list(polygon)
    for axis, limit, sign in ((0, frame[0], 1.0), (0, frame[2], -1.0), (1, frame[1], 1.0), (1, frame[3], -1.0)):
        kept: list[Points] = []
        for previous, point in zip(points[-1:] + points[:-1], points, strict=True):
            before = sign * (previous[axis] - limit)
            after = sign * (point[axis] - limit)
            if (before < 0) != (after < 0):
                kept.append(previous + (point - previous) * before / (before - after))
            if after >= 0:
                kept.append(point)
        points = kept
    return np.array(points) if points else np.empty((0, 2))
