"""Global longitudinal strain of the endocardial contour: how much it shortens from end-diastole to end-systole.

The length is that of the LV contour from one end of the mitral plane over the apex to the other end. This is the
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

_POINTS = 101
_SMOOTHING_POINTS = 2.0
"""Standard deviation of the smoothing along the contour: 2 % of its length, about 4 mm in an adult (ours)."""


def endocardial_length(shape: LvShape) -> float:
    """Length of the LV contour from one end of the mitral plane over the apex to the other; mm if calibrated.

    The contour is smoothed over 2 % of its length, because the steps between pixels would count as length.

    Raises:
        MeasureError: the frame does not show the mitral plane.
    """
    if shape.annulus_xy is None:
        raise MeasureError("the mitral plane was not found, so that the contour has no ends; check the left atrium")
    unit_xy = np.array([shape.spacing.column_mm, shape.spacing.row_mm]) if shape.spacing else np.ones(2)
    outline = shape.outline_xy * unit_xy
    ends = [_nearest(outline, np.array(end) * unit_xy) for end in shape.annulus_xy]
    apex = _nearest(outline, np.array(shape.apex_xy) * unit_xy)
    arc = _smoothed(_arc_over(outline, ends[0], ends[1], apex))
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


def _nearest(outline: Outline, point: Float[np.ndarray, "2"]) -> int:
    return int(np.linalg.norm(outline - point, axis=1).argmin())


def _arc_over(outline: Outline, first: int, second: int, over: int) -> Outline:
    """The points from ``first`` to ``second`` along the side of a closed outline on which ``over`` lies."""
    count = len(outline)
    forward = np.arange(first, first + (second - first) % count + 1) % count
    if over in forward:
        return outline[forward]
    return outline[np.arange(second, second + (first - second) % count + 1) % count]


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
