"""Masks on the way to and from the browser: contours, and run lengths in column order."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from echoapex.domain.clip import Size
from echoapex.serve.page.correction_schemas import ClipContours, FrameMaskSet, RunLengths
from echoapex.serve.page.security import PageError
from echoapex.serve.page.study_results import Masks
from echoapex.vocabulary import Structure

_TOLERANCE_PX = 0.6
_LEAST_AREA_PX = 8.0
_SUBPIXEL_BITS = 4


def contours_of(masks: Masks) -> ClipContours:
    """The closed contours of all structures on all frames, native pixels."""
    found: dict[str, dict[str, list[list[tuple[float, float]]]]] = {}
    for frame, labels in masks.items():
        for structure in Structure:
            parts = _parts(labels == structure)
            if parts:
                found.setdefault(structure.key, {})[str(frame)] = parts
    return ClipContours(structures=found)


def _parts(mask: Bool[np.ndarray, "height width"]) -> list[list[tuple[float, float]]]:
    if not mask.any():
        return []
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    large = [contour for contour in contours if cv2.contourArea(contour) >= _LEAST_AREA_PX]
    simple = [cv2.approxPolyDP(contour, _TOLERANCE_PX, True)[:, 0] for contour in large or contours]
    return [[(float(x), float(y)) for x, y in contour] for contour in simple]


def masks_of(labels: UInt8[np.ndarray, "height width"]) -> FrameMaskSet:
    """The masks of one frame as run lengths."""
    present = [structure for structure in Structure if (labels == structure).any()]
    return FrameMaskSet(
        size=(labels.shape[0], labels.shape[1]),
        structures={item.key: RunLengths(counts=run_lengths(labels == item)) for item in present},
    )


def run_lengths(mask: Bool[np.ndarray, "height width"]) -> list[int]:
    """Counts of 0 and 1 by turns in column order, the first of 0 (COCO).

    >>> run_lengths(np.array([[False, True], [True, True]]))
    [1, 3]
    """
    flat = np.asarray(mask, bool).ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    counts = np.diff(edges).tolist()
    return [0, *counts] if flat.size and flat[0] else counts


def mask_of_runs(counts: Sequence[int], size: Size) -> Bool[np.ndarray, "height width"]:
    """The mask of run lengths in column order.

    Raises:
        PageError: they are not as many pixels as the frame has.
    """
    if sum(counts) != size[0] * size[1]:
        raise PageError(
            f"the run lengths hold {sum(counts)} pixels, the frame {size[0] * size[1]}; send them again", 422
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size, order="F")


def mask_of_contour(contour: Sequence[tuple[float, float]], size: Size) -> Bool[np.ndarray, "height width"]:
    """The inside of a closed contour in native pixels; nothing for fewer than three points."""
    mask = np.zeros(size, np.uint8)
    if len(contour) >= 3:
        scale = 1 << _SUBPIXEL_BITS
        points = np.round(np.asarray(contour, float) * scale).astype(np.int32)
        cv2.fillPoly(mask, [points], 1, cv2.LINE_8, _SUBPIXEL_BITS)
    return mask.astype(bool)
