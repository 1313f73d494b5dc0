from __future__ import annotations

import numpy as np

from echoapex.infer.clip.outlines import contour_key, trace_contour
from echoapex.measure.outline import polygon_area


def ellipse(height: int = 120, width: int = 90) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.asarray(((rows - 60) / 45) ** 2 + ((columns - 45) / 28) ** 2 <= 1)


def test_a_contour_keeps_the_area_with_few_points() -> None:
    mask = ellipse()
    contour = trace_contour(mask)
    assert len(contour) < 120
    assert abs(polygon_area(np.array(contour)) / mask.sum() - 1) < 0.01


def test_an_empty_mask_has_no_contour() -> None:
    assert trace_contour(np.zeros((10, 10), bool)) == ()


def test_contours_are_named_by_structure_and_frame() -> None:
    assert contour_key("lv_cavity", 12) == "lv_cavity@12"
