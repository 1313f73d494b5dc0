"""Global longitudinal strain of the endocardial contour: how much it shortens from end-diastole to end-systole.

The length is that of the LV contour from the mitral plane over the apex back to the mitral plane. This is the
definition of Lang et al., ASE/EACVI 2015, doi 10.1016/j.echo.2014.10.003, section 2 (change in length of the LV as a
percentage of its length at end-diastole), on the endocardial border. It is not speckle tracking: no point of the wall
is followed, and each contour has its own error. Values are not interchangeable with those of a speckle tracking system.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from echoapex.measure.lv_volume import LvShape
from echoapex.measure.outline import MeasureError, Outline

_LEVEL = 0.03
"""Height above the mitral plane where the contour begins and ends, as a share of the LV length: 3 mm in adults (ours).

At the plane itself the contour turns into the base, and where it turns differs from frame to frame.
"""
_POINTS = 101
_SMOOTHING_POINTS = 2.0
"""Standard deviation of the smoothing along the contour: 2 % of its length, about 4 mm in an adult (ours)."""


def endocardial_length(shape: LvShape) -> float:
    """Length of the LV contour from the mitral plane over the apex back to the mitral plane; in mm if calibrated.

    It begins and ends 3 % of the LV length above the plane. The contour is smoothed over 2 % of its length, because the
    steps between pixels would count as length.

    Raises:
        MeasureError: the frame does not show the mitral plane.
    """
    if shape.annulus_xy is None:
        raise MeasureError("the mitral plane was not found, so that the contour has no ends; check the left atrium")
    unit_xy = np.array([shape.spacing.column_mm, shape.spacing.row_mm]) if shape.spacing else np.ones(2)
    annulus, apex = np.array(shape.annulus_xy) * unit_xy, np.array(shape.apex_xy) * unit_xy
    along = (annulus[1] - annulus[0]) / np.linalg.norm(annulus[1] - annulus[0])
    normal = np.array([-along[1], along[0]])
    normal *= np.sign((apex - annulus[0]) @ normal)
    outline = shape.outline_xy * unit_xy
    heights = (outline - annulus[0]) @ normal - _LEVEL * shape.length
    arc = _smoothed(_arc_above(outline, heights))
    return float(np.linalg.norm(np.diff(arc, axis=0), axis=1).sum())


def longitudinal_strain_percent(end_diastolic_length: float, end_systolic_length: float) -> float:
    """Strain ``100 * (L_ES - L_ED) / L_ED``: negative where the contour shortens (Lang et al. 2015, section 2).

    >>> longitudinal_strain_percent(160.0, 128.0)
    -20.0

    Raises:
        MeasureError: a length is not positive, or the contour does not shorten.
    """
    if not 0 < end_systolic_length < end_diastolic_length:
        raise MeasureError(
            f"no strain from lengths of {end_diastolic_length:g} and {end_systolic_length:g}; "
            "check which frames are ED and ES"
        )
    return 100 * (end_systolic_length - end_diastolic_length) / end_diastolic_length


def _arc_above(outline: Outline, heights: Float[np.ndarray, " points"]) -> Outline:
    """The part of a closed outline around its highest point that lies above height 0, with its two ends at height 0."""
    top = int(heights.argmax())
    outline, heights = np.roll(outline, -top, axis=0), np.roll(heights, -top)
    below = np.flatnonzero(heights <= 0)
    if below.size == 0:
        raise MeasureError("the LV contour does not reach the mitral plane; check the segmentation")
    first, last = int(below[0]), int(below[-1])
    down = _at_zero(outline[first - 1 : first + 1], heights[first - 1 : first + 1])
    after = (last + 1) % len(outline)
    up = _at_zero(outline[[last, after]], heights[[last, after]])
    return np.concatenate([[up], outline[last + 1 :], outline[:first], [down]])


def _at_zero(ends: Float[np.ndarray, "2 2"], heights: Float[np.ndarray, "2"]) -> Float[np.ndarray, "2"]:
    """The point of a side at height 0."""
    share = heights[0] / (heights[0] - heights[1])
    return np.asarray(ends[0] + share * (ends[1] - ends[0]))


def _smoothed(arc: Outline) -> Outline:
    """The arc at equal distances, smoothed along itself; its two ends stay."""
    walked = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(arc, axis=0), axis=1))])
    at = np.linspace(0, walked[-1], _POINTS)
    even = np.column_stack([np.interp(at, walked, arc[:, axis]) for axis in (0, 1)])
    reach = 4 * round(_SMOOTHING_POINTS)
    before, after = 2 * even[0] - even[reach:0:-1], 2 * even[-1] - even[-2 : -reach - 2 : -1]
    padded = np.concatenate([before, even, after])
    smooth: Outline = ndimage.gaussian_filter1d(padded, _SMOOTHING_POINTS, axis=0)[reach:-reach]
    return smooth
