"""Find the sector: the fan of ultrasound inside an image, without ECG strip, text, colour bar and tick marks.

Ultrasound fills its area densely, and in a clip it moves. Text and rulers stand still, and an ECG trace is thin and
lights each pixel only now and then. The area that is found is explained as a fan (two straight sides that meet in an
apex, closed by an arc), so that dark corners and drop-outs belong to it. A shape that is not a fan is not accepted: a
rectangle may be a linear array, the strip of an M-mode or the page of a report, and a hull can be drawn around
anything, including names and dates.

Inside the sector, a box of colour flow and large areas of texture beside the fan are found too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from echoapex.domain import Sector
from echoapex.io.fan import Fan, best_fan, filled, grown, hull_of

Box = tuple[float, float, float, float]
Mask = Bool[np.ndarray, "height width"]
Points = Float[np.ndarray, "points 2"]

WORKING_SIZE_PX = 480
"""The longer side of the reduced image in which the sector is searched."""

MOST_FRAMES = 24
"""Most frames that are used; of more, an even selection is taken."""

_LIT_ABOVE_BACKGROUND, _LIT_AT_SECOND_LOOK = 7, 3
_UNLIKE_LIGHT_SCREEN = 7
_DARKEST_SCREEN = 40
_SCREEN_AT_BORDER = 0.3
_SCREEN_AREA = 0.05
_SATURATED = 250
_EVEN_RANGE = 2
_LINE_OF_TEXT = 0.035  # of the shorter side of the image
_OFTEN = 0.2
_MOVING_DEVIATION = 2.0
_MOVING_AREA = 0.02
_LEAST_AREA = 0.02
_PART_OF_MOVING_FAN = 0.02
_PART_OF_STILL_FAN = 0.15
_RECTANGLE_FILL = 0.93
RIM = 0.02  # of the longer side of the image
_TEXTURED = 1.5  # grey levels a pixel

COLOURED = 48
"""Difference between the largest and the smallest of R, G and B from which a pixel counts as coloured."""
VISIBLE = 32
"""Grey level from which a pixel counts as lit."""
_TINT_SHARE = 0.6  # above this coloured share of the lit pixels the image is a tinted grey scale, not flow
_SMALLEST_BOX_SHARE = 0.002  # of the area searched
_SMALLEST_BOX_SIDE = 0.05  # of the side of the searched area: colour bars and traces are narrower


class Shape(StrEnum):
    """The shape of the area of an image that is densely lit."""

    NOTHING = "nothing"
    FAN = "fan"
    RECTANGLE = "rectangle"
    OTHER = "other"


@dataclass(frozen=True, eq=False)
class Search:
    """Result of the search for the sector, in pixels of the reduced frames.

    Attributes:
        frames: the frames, thinned out and reduced.
        scale: reduced size divided by native size, along x and y.
        window: the area that was searched.
        lit: pixels that often differ from the background of the screen.
        shape: shape of the densely lit area.
        area: the largest part of the densely lit area, or None.
        fan: the fan, or None.
    """

    frames: UInt8[np.ndarray, "frames height width"]
    scale: Points
    window: Mask
    lit: Mask
    shape: Shape
    area: Mask | None = None
    fan: Fan | None = None


def find_sector(frames: UInt8[np.ndarray, "frames height width"], region_box_xyxy: Box | None = None) -> Sector | None:
    """Find the sector from several grey frames of one clip (a single frame works, but is less reliable).

    Args:
        frames: frames spread over the clip; about sixteen are enough.
        region_box_xyxy: pixel edges of a region that is known to contain the ultrasound (a DICOM region); only this
            region is searched.

    Returns:
        The sector, with its polygon in pixel centres clipped to the image; None if there is no fan.

    Raises:
        ValueError: the frames are not uint8 (frames, height, width), or there is none.
    """
    search = search_sector(frames, region_box_xyxy)
    return sector_of(search, (frames.shape[1], frames.shape[2]), region_box_xyxy)


def search_sector(frames: UInt8[np.ndarray, "frames height width"], region_box_xyxy: Box | None = None) -> Search:
    """Search as :func:`find_sector`, but return all findings; :func:`sector_of` turns them into a sector.

    Raises:
        ValueError: the frames are not uint8 (frames, height, width), or there is none.
    """
    if frames.dtype != np.uint8 or frames.ndim != 3 or 0 in frames.shape:
        raise ValueError(f"find_sector needs uint8 frames (frames, height, width), got {frames.dtype} {frames.shape}")
    reduced, scale = _reduce(_thin_out(frames))
    window = _region_mask(reduced.shape[1:], region_box_xyxy, scale)
    # dark tissue, which the first search takes for the screen, is found by a second search
    first = _search_reduced(reduced, scale, window, _LIT_ABOVE_BACKGROUND)
    if first.shape in (Shape.FAN, Shape.RECTANGLE):
        return first
    second = _search_reduced(reduced, scale, window, _LIT_AT_SECOND_LOOK)
    return first if second.fan is None else second


def sector_of(search: Search, size: tuple[int, int], region_box_xyxy: Box | None = None) -> Sector | None:
    """The fan in native pixels, clipped to an image of ``size`` and to the region; None if none was found."""
    if search.fan is None:
        return None
    native = (search.fan.outline + 0.5) / search.scale - 0.5
    return _sector_from_outline(native, size, region_box_xyxy)


def sector_mask(sector: Sector, size: tuple[int, int]) -> Mask:
    """The inside of a sector as a boolean image of ``size``; the box is used if there is no polygon."""
    if len(sector.polygon_xy) >= 3:
        return filled(np.asarray(sector.polygon_xy), size)
    mask = np.zeros(size, bool)
    x0, y0, x1, y1 = (max(0, round(edge)) for edge in sector.box_xyxy)
    mask[y0:y1, x0:x1] = True
    return mask


def _reduce(frames: UInt8[np.ndarray, "frames height width"]) -> tuple[UInt8[np.ndarray, "frames h w"], Points]:
    """The frames with the longer side at most ``WORKING_SIZE_PX``, and the scale along x and y."""
    height, width = frames.shape[1:]
    shrink = min(1.0, WORKING_SIZE_PX / max(height, width))
    if shrink == 1.0:
        return frames, np.ones(2)
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
    return small, np.array([size[0] / width, size[1] / height])


def _thin_out(frames: UInt8[np.ndarray, "frames height width"]) -> UInt8[np.ndarray, "fewer height width"]:
    wanted = np.linspace(0, len(frames) - 1, min(len(frames), MOST_FRAMES)).round().astype(int)
    return frames if len(wanted) == len(frames) else frames[wanted]


def _region_mask(size: tuple[int, ...], box_xyxy: Box | None, scale: Points) -> Mask:
    mask = np.zeros(size, bool)
    if box_xyxy is None:
        mask[:] = True
    else:
        x0, y0, x1, y1 = np.round(np.asarray(box_xyxy) * np.tile(scale, 2)).astype(int)
        mask[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = True
    return mask


def _search_reduced(
    reduced: UInt8[np.ndarray, "frames height width"], scale: Points, window: Mask, above: int
) -> Search:
    evidence, lit, moves = _ultrasound_evidence(reduced, window, above)
    areas = _dense_areas(evidence, _PART_OF_MOVING_FAN if moves else _PART_OF_STILL_FAN)
    if not areas:
        return Search(reduced, scale, window, lit, Shape.NOTHING)
    if _is_rectangle(areas[0]):
        return Search(reduced, scale, window, lit, Shape.RECTANGLE, areas[0])
    fan = best_fan(areas, lit)
    return Search(reduced, scale, window, lit, Shape.OTHER if fan is None else Shape.FAN, areas[0], fan)


def _ultrasound_evidence(frames: UInt8[np.ndarray, "frames h w"], window: Mask, above: int) -> tuple[Mask, Mask, bool]:
    """Three results: often lit pixels (only moving ones in a moving clip), all often lit pixels, whether it moves."""
    panels = _is_panel(frames[0]) & _is_panel(frames[-1])
    often: Mask = _differs_from_screen(frames, _screen_levels(frames[0]), above).mean(axis=0) >= _OFTEN
    lit = often & window & ~panels
    if len(frames) < 3:
        return lit, lit, False
    total, squares = (np.zeros(lit.shape, np.float32) for _ in range(2))
    for frame in frames:
        cv2.accumulate(frame, total)
        cv2.accumulateSquare(frame, squares)
    variance = squares / len(frames) - (total / len(frames)) ** 2
    # speckle flickers in every neighbourhood, even where single pixels stand still
    moving = cv2.dilate((variance >= _MOVING_DEVIATION**2).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    both: Mask = lit & moving
    moves = bool(both.mean() >= _MOVING_AREA)
    return (both if moves else lit), lit, moves


def _is_panel(frame: UInt8[np.ndarray, "h w"]) -> Mask:
    """Bars and panels of a screen: even areas larger than a line of text, brighter than dark tissue without speckle."""
    window = max(3, round(_LINE_OF_TEXT * min(frame.shape))) | 1
    even = (_is_even(frame) & (frame >= _DARKEST_SCREEN)).astype(np.uint8)
    solid = cv2.morphologyEx(even, cv2.MORPH_OPEN, np.ones((window, window), np.uint8))
    return cv2.dilate(solid, np.ones((3, 3), np.uint8)).astype(bool)


def _is_even(frame: UInt8[np.ndarray, "h w"]) -> Mask:
    """Pixels without texture; over-gained tissue also has none, but is white and is not counted."""
    kernel = np.ones((3, 3), np.uint8)
    is_even: Mask = (cv2.dilate(frame, kernel) - cv2.erode(frame, kernel) <= _EVEN_RANGE) & (frame < _SATURATED)
    return is_even


def _differs_from_screen(
    frames: UInt8[np.ndarray, "frames h w"], levels: tuple[int, ...], above: int
) -> Bool[np.ndarray, "frames h w"]:
    """Pixels brighter than the dark level of the screen and unlike its lighter ones."""
    lit: np.ndarray = frames > levels[0] + above
    for level in levels[1:]:
        lit &= np.abs(frames.astype(np.int16) - level) > _UNLIKE_LIGHT_SCREEN
    return lit


def _screen_levels(frame: UInt8[np.ndarray, "h w"]) -> tuple[int, ...]:
    """The grey levels of the screen behind the ultrasound: the dark one first, then a lighter one if there is one.

    A lighter screen is the even border of the image, or one level that fills a good part of the image without texture.
    """
    dark = int(np.bincount(frame.ravel(), minlength=256)[:_DARKEST_SCREEN].argmax())
    border = np.concatenate([frame[:2].ravel(), frame[-2:].ravel(), frame[:, :2].ravel(), frame[:, -2:].ravel()])
    even = frame[_is_even(frame)]
    levels = {
        _most_frequent(border, _SCREEN_AT_BORDER * border.size),
        _most_frequent(even, _SCREEN_AREA * frame.size),
    }
    return (dark, *sorted(level for level in levels if level is not None and level >= _DARKEST_SCREEN))


def _most_frequent(samples: UInt8[np.ndarray, "samples"], least: float) -> int | None:
    """The most frequent level (within one level); None if its share of the samples is below ``least``."""
    counts = np.convolve(np.bincount(samples, minlength=256), np.ones(3), mode="same")
    best = int(counts.argmax())
    return best if counts[best] >= least else None


def _dense_areas(evidence: Mask, least_part: float) -> list[Mask]:
    """Areas that are densely lit at the scale of a line of text: the largest one, and all large ones together.

    Black chambers and shadows can cut a fan into several areas. An area counts as large from ``least_part`` of the
    largest one on. Empty if there is no area of sufficient size.
    """
    window = max(3, round(_LINE_OF_TEXT * min(evidence.shape))) | 1
    density = cv2.boxFilter(evidence.astype(np.float32), -1, (window, window), borderType=cv2.BORDER_REFLECT)
    dense = (density >= 0.5).astype(np.uint8)
    # cut bridges thinner than a line of text (an ECG trace or a ruler that touches the fan)
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


def _is_rectangle(area: Mask) -> bool:
    hull = hull_of(area)
    (x0, y0), (x1, y1) = hull.min(axis=0), hull.max(axis=0)
    return bool(cv2.contourArea(hull.astype(np.float32)) > _RECTANGLE_FILL * (x1 - x0 + 1) * (y1 - y0 + 1))


def _sector_from_outline(outline: Points, size: tuple[int, int], region_box_xyxy: Box | None) -> Sector | None:
    """Clip an outline in native pixel centres to the image (and the region), and find its box."""
    height, width = size
    x0, y0, x1, y1 = region_box_xyxy or (0.0, 0.0, float(width), float(height))
    frame = (max(0.0, x0), max(0.0, y0), min(float(width), x1) - 1.0, min(float(height), y1) - 1.0)
    clipped = _clip_polygon(outline, frame)
    if len(clipped) < 3:
        return None
    (left, top), (right, bottom) = clipped.min(axis=0), clipped.max(axis=0)
    # in pixel edges, the pixel with number c lies between the edges c and c + 1
    box = (float(left), float(top), float(right) + 1.0, float(bottom) + 1.0)
    return Sector(box, tuple((round(float(x), 2), round(float(y), 2)) for x, y in clipped))


def _clip_polygon(polygon: Points, frame: Box) -> Points:
    """The part of a polygon inside an upright rectangle (x0, y0, x1, y1); Sutherland and Hodgman, 1974."""
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


def find_colour_box(
    frames: Sequence[UInt8[np.ndarray, "height width *channels"]], within_xyxy: Box | None = None
) -> Box | None:
    """The box around the colour flow in some frames, or None if there is none.

    A pixel counts as coloured if its largest and smallest colour value differ clearly. Morphological opening removes
    thin traces, text and icons; narrow scale bars are removed by their width. An image in which nearly all lit pixels
    are coloured is a tinted grey scale.

    Args:
        frames: RGB frames of one size; in grey frames no colour is found.
        within_xyxy: the region of ultrasound data in pixel edges; by default the whole image.

    Returns:
        (x0, y0, x1, y1) in pixel edges.
    """
    coloured_frames = [frame for frame in frames if frame.ndim == 3]
    if not coloured_frames:
        return None
    height, width = coloured_frames[0].shape[:2]
    x0, y0, x1, y1 = _clip(within_xyxy or (0, 0, width, height), (height, width))
    if x1 - x0 < 8 or y1 - y0 < 8:
        return None
    flow = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    for frame in coloured_frames:
        flow |= _flow_pixels(frame[y0:y1, x0:x1])
    found = _largest_patches(flow)
    if found is None:
        return None
    left, top, right, bottom = found
    return (float(x0 + left), float(y0 + top), float(x0 + right), float(y0 + bottom))


def _flow_pixels(patch: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """Coloured pixels of one frame; none if the whole frame is tinted."""
    red, green, blue = cv2.split(patch)
    brightest = cv2.max(cv2.max(red, green), blue)
    darkest = cv2.min(cv2.min(red, green), blue)
    coloured: Bool[np.ndarray, "height width"] = (brightest - darkest) >= COLOURED
    lit = np.count_nonzero(brightest >= VISIBLE)
    if np.count_nonzero(coloured) > _TINT_SHARE * lit:
        return np.zeros_like(coloured)
    return coloured


def _largest_patches(flow: Bool[np.ndarray, "height width"]) -> tuple[int, int, int, int] | None:
    """The box around all patches of colour that are large enough to be flow."""
    height, width = flow.shape
    solid = cv2.morphologyEx(flow.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    reach = max(3, min(height, width) // 40) | 1
    joined = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(joined)
    boxes = [
        (left, top, left + w, top + h)
        for left, top, w, h, area in stats[1:].tolist()
        if w >= _SMALLEST_BOX_SIDE * width
        and h >= _SMALLEST_BOX_SIDE * height
        and area >= _SMALLEST_BOX_SHARE * height * width
    ]
    if not boxes:
        return None
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return (min(lefts), min(tops), max(rights), max(bottoms))


def _clip(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    height, width = size
    x0, y0, x1, y1 = (round(edge) for edge in box)
    return (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))


def largest_textured_area(search: Search) -> Mask | None:
    """The largest area outside the fan that is textured at the scale of a line of text, or None."""
    size = search.lit.shape
    frame = search.frames[len(search.frames) // 2]
    slope = sum(np.abs(cv2.Sobel(frame, cv2.CV_32F, *order, ksize=3)) / 8 for order in ((1, 0), (0, 1)))
    textured = (slope > _TEXTURED) & search.window
    if search.fan is not None:
        textured &= ~grown(filled(search.fan.outline, size), max(2, round(RIM * max(size))))
    window = max(3, round(_LINE_OF_TEXT * min(size))) | 1
    dense = cv2.boxFilter(textured.astype(np.float32), -1, (window, window)) > 0.5
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (window // 2) + 1,) * 2)
    opened = cv2.morphologyEx(dense.astype(np.uint8), cv2.MORPH_OPEN, disc)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(opened)
    sizes = statistics[:, cv2.CC_STAT_AREA].copy()
    sizes[0] = 0
    best = int(sizes.argmax())
    return labels == best if sizes[best] else None
