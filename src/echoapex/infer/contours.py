"""Outlines of masks as evidence: sub-pixel contours with few points, from which a value can be computed again."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool

from echoapex.measure import MeasureError, trace_outline

Contour = tuple[tuple[float, float], ...]

TOLERANCE_PX = 0.35
"""Largest distance between an outline and its simplified contour; areas change by well under one percent."""


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
