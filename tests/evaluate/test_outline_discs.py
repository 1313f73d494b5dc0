"""Discs on outlines of known ED and ES frames, against half ellipsoids."""

from __future__ import annotations

import numpy as np
import pytest
from reference_studies import ventricle

from echoapex.domain import Spacing
from echoapex.evaluate.cases import LongAxisPlane, ejection_fraction_of_outlines

TRUE_PERCENT = 100 * (1 - 28**2 * 52 / (40**2 * 60))


@pytest.mark.parametrize("spacing", [Spacing(0.5, 0.5), None], ids=["calibrated", "uncalibrated"])
@pytest.mark.parametrize("planes", [1, 2])
def test_half_ellipsoids(spacing: Spacing | None, planes: int) -> None:
    plane = LongAxisPlane(ventricle(40, 60), ventricle(28, 52), spacing)
    assert ejection_fraction_of_outlines([plane] * planes) == pytest.approx(TRUE_PERCENT, abs=1.5)


def test_biplane_multiplies_the_diameters_of_both_planes() -> None:
    spacing = Spacing(0.5, 0.5)
    wide = LongAxisPlane(ventricle(44, 60), ventricle(36, 52), spacing)
    narrow = LongAxisPlane(ventricle(36, 60), ventricle(20, 52), spacing)
    expected = 100 * (1 - 36 * 20 * 52 / (44 * 36 * 60))
    assert ejection_fraction_of_outlines([wide, narrow]) == pytest.approx(expected, abs=1.5)


def test_nothing_to_measure_is_no_value() -> None:
    empty = np.zeros((96, 96), np.uint8)
    assert ejection_fraction_of_outlines([]) is None
    assert ejection_fraction_of_outlines([LongAxisPlane(ventricle(40, 60), empty, None)]) is None
    assert ejection_fraction_of_outlines([LongAxisPlane(ventricle(28, 52), ventricle(40, 60), None)]) is None
