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
_MOVING_RANGE = 5
_MOVING_AREA = 0.02
_LEAST_AREA = 0.02
_RECTANGLE_FILL = 0.93
_FAN_COVERED = 0.6
_FAN_ENCLOSING = 0.97
_LEAST_OPENING_RAD = np.deg2rad(15)
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
    evidence = _ultrasound_evidence(reduced, window)
    area = _largest_dense_area(evidence)
    if area is None:
        return None
    outline = _explain(area, evidence)
    native = (outline + 0.5) / scale - 0.5
    return _sector_from_outline(native, (frames.shape[1], frames.shape[2]), region_box_xyxy)


def sector_mask(sector: Sector, size: tuple[int, int]) -> Mask:
    """The inside of a sector as a boolean image ``size``; the box stands in where there is no polygon."""
    mask = np.zeros(size, np.uint8)
    if len(sector.polygon_xy) >= 3:
        # a sixteenth of a pixel is kept, so that the edge is not biased by rounding
        points = np.round(np.asarray(sector.polygon_xy) * 16).astype(np.int32)
        cv2.fillPoly(mask, [points], 1, lineType=cv2.LINE_8, shift=4)
    else:
        x0, y0, x1, y1 = (max(0, round(edge)) for edge in sector.box_xyxy)
        mask[y0:y1, x0:x1] = 1
    found: Mask = mask.astype(bool)
    return found


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


def _ultrasound_evidence(frames: UInt8[np.ndarray, "frames h w"], window: Mask) -> Mask:
    """Pixels lit in a fair share of the frames and, where the clip moves at all, moving."""
    background = np.bincount(frames[0].ravel(), minlength=256)[:40].argmax()
    lit: Mask = ((frames > background + _LIT_ABOVE_BACKGROUND).mean(axis=0) >= _OFTEN) & window
    if len(frames) < 3:
        return lit
    spread = np.percentile(frames, 90, axis=0) - np.percentile(frames, 10, axis=0)
    # speckle flickers in every neighbourhood even where single pixels happen to rest
    moving = cv2.dilate((spread >= _MOVING_RANGE).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    both: Mask = lit & moving
    return both if both.mean() >= _MOVING_AREA else lit


def _largest_dense_area(evidence: Mask) -> Mask | None:
    """The largest connected area that is mostly evidence at the scale of a line of text; None when there is none."""
    shorter = min(evidence.shape)
    window = max(3, round(0.035 * shorter)) | 1
    density = cv2.boxFilter(evidence.astype(np.float32), -1, (window, window), borderType=cv2.BORDER_REFLECT)
    dense = (density >= 0.5).astype(np.uint8)
    # bridges thinner than a line of text (an ECG trace or a ruler touching the fan) are cut
    thick = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (window, window))
    opened = cv2.morphologyEx(dense, cv2.MORPH_OPEN, thick)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        return None
    areas = statistics[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    best = int(areas.argmax())
    if areas[best] < _LEAST_AREA * evidence.size:
        return None
    found: Mask = labels == best
    return found


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


def _explain(area: Mask, evidence: Mask) -> Points:
    """The outline of the simplest shape that explains the area: rectangle, fan, or its convex hull."""
    hull = _hull(area)
    x0, y0 = hull.min(axis=0)
    x1, y1 = hull.max(axis=0)
    rectangle_area = (x1 - x0 + 1) * (y1 - y0 + 1)
    if cv2.contourArea(hull.astype(np.float32)) > _RECTANGLE_FILL * rectangle_area:
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    fan = _fit_fan(area, hull, evidence)
    if fan is not None and fan.covered > _FAN_COVERED and fan.enclosing > _FAN_ENCLOSING:
        return fan.outline
    return hull


def _edge_points(area: Mask) -> Points:
    contours, _ = cv2.findContours(area.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.concatenate([contour[:, 0] for contour in contours]).astype(np.float64)


def _hull(area: Mask) -> Points:
    return np.asarray(cv2.convexHull(_edge_points(area).astype(np.int32))[:, 0], np.float64)


def _fit_fan(area: Mask, hull: Points, evidence: Mask) -> _Fan | None:
    """The fan with its apex above whose sides follow the edge of the area longest and which the area fills best."""
    edge = _edge_points(area)
    height, width = area.shape
    # where the image cuts the fan, its edge is the border of the image and says nothing of the fan
    inside = (edge > 0.5).all(axis=1) & (edge[:, 0] < width - 1.5) & (edge[:, 1] < height - 1.5)
    if inside.sum() < 20:
        return None
    lefts, rights = (_candidate_sides(edge[inside], hull, outward) for outward in (-1.0, 1.0))
    fans = [_fan_between(left, right, area, evidence) for left in lefts for right in rights]
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


def _fan_between(left: _Side, right: _Side, area: Mask, evidence: Mask) -> _Fan | None:
    """The fan between two sides, or None when they meet nowhere a transducer could be."""
    sweep = (-float(np.arcsin(-left.normal[1])), float(np.arcsin(-right.normal[1])))
    if sweep[1] - sweep[0] < _LEAST_OPENING_RAD:
        return None
    apex = np.linalg.solve(np.array([left.normal, right.normal]), np.array([left.offset, right.offset]))
    rows, columns = np.nonzero(area)
    height, top = area.shape[0], rows.min()
    if not top - 2.0 * height < apex[1] < top + 0.1 * height:
        return None
    farthest = float(np.percentile(np.hypot(columns - apex[0], rows - apex[1]), 99.9))
    nearest = _nearest_radius(evidence, apex, sweep, farthest)
    outline = _fan_outline(apex, sweep, (nearest, farthest))
    filled = np.zeros(area.shape, np.uint8)
    cv2.fillPoly(filled, [np.round(outline * 16).astype(np.int32)], 1, shift=4)
    fan = filled.astype(bool)
    both = float((fan & area).sum())
    covered, enclosing = both / max(1, int(fan.sum())), both / float(area.sum())
    return _Fan(outline, covered, enclosing, covered + 0.25 * (left.touching_px + right.touching_px) / farthest)


def _nearest_radius(evidence: Mask, apex: Points, sweep: tuple[float, float], farthest: float) -> float:
    """Where the fan begins: the smallest radius from which a fair share of every arc is ultrasound."""
    rows, columns = np.indices(evidence.shape)
    radius = np.hypot(columns - apex[0], rows - apex[1])
    angle = np.arctan2(columns - apex[0], rows - apex[1])
    margin = 0.1 * (sweep[1] - sweep[0])
    within = (angle > sweep[0] + margin) & (angle < sweep[1] - margin) & (radius < farthest)
    bins = radius[within].astype(int)
    total = np.bincount(bins, minlength=int(farthest) + 1)
    share = np.bincount(bins, evidence[within], minlength=len(total)) / np.maximum(total, 1)
    # marks above the transducer are separated from the fan by a gap: walk up from the middle until the gap
    gap = max(2, round(0.03 * farthest))
    empty = np.convolve(share < _LEAST_SHARE_OF_ARC, np.ones(gap), mode="full")[: len(share)] >= gap
    empty[len(share) // 2 :] = False
    before = np.flatnonzero(empty)
    return float(before[-1] + 1) if len(before) else 0.0


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
    box = (float(left) - 0.5, float(top) - 0.5, float(right) + 0.5, float(bottom) + 0.5)
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
