"""Outlines of masks as evidence: sub-pixel contours with few points, from which a value can be computed again."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool

from echoapex.domain import Evidence, Spacing
from echoapex.measure import LvShape, MeasureError, lv_shape_of_outline, trace_outline
from echoapex.vocabulary import Structure

Contour = tuple[tuple[float, float], ...]

TOLERANCE_PX = 0.35
"""Largest distance between an outline and its simplified contour; areas change by well under one percent."""
PROBE_POINT = "probe"
"""The point in evidence where the transducer lies; it tells base from apex where no left atrium is outlined."""


def trace_contour(mask: Bool[np.ndarray, "height width"]) -> Contour:
    """The closed contour of the largest part of a mask in native pixels; empty for an empty mask."""
    try:
        outline = trace_outline(mask)
    except MeasureError:
        return ()
    simplified = cv2.approxPolyDP(outline.astype(np.float32)[:, None], TOLERANCE_PX, True)[:, 0]
    return tuple((round(float(x), 2), round(float(y), 2)) for x, y in simplified)


def contour_key(structure_key: str, frame: int) -> str:
    """The name of a contour in evidence: ``lv_cavity@12``."""
    return f"{structure_key}@{frame}"


def shape_from_evidence(evidence: Evidence, frame: int) -> LvShape:
    """The LV shape on one frame, computed from what is written in the evidence and nothing else.

    Raises:
        KeyError: the evidence has no LV contour on that frame.
        MeasureError: the contour is too small.
    """
    spacing = Spacing(evidence.row_mm, evidence.column_mm) if evidence.row_mm and evidence.column_mm else None
    cavity = np.array(evidence.contours_xy[contour_key(Structure.LV_CAVITY.key, frame)])
    atrium = evidence.contours_xy.get(contour_key(Structure.LEFT_ATRIUM.key, frame))
    return lv_shape_of_outline(
        _densely(cavity),
        spacing,
        None if atrium is None else _densely(np.array(atrium)),
        evidence.points_xy.get(PROBE_POINT),
    )


def _densely(contour: np.ndarray) -> np.ndarray:
    """A contour with a point about every pixel: which part borders the atrium is asked of points, not of sides."""
    following = np.roll(contour, -1, axis=0)
    pieces = [
        start
        + (end - start) * np.linspace(0, 1, max(1, round(float(np.linalg.norm(end - start)))), endpoint=False)[:, None]
        for start, end in zip(contour, following, strict=True)
    ]
    return np.concatenate(pieces)
