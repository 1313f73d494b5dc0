"""Examples: which frames are shown, and outlines that lie where the masks are."""

import cv2
import numpy as np
import pytest

from echoapex.data.preprocess import FramePreparer
from echoapex.domain import FrameTransform, Sector
from echoapex.evaluate.card.examples import choose_rows, show_frame, trace_outlines
from echoapex.evaluate.card.rows import MaskRow
from echoapex.vocabulary import Structure


def rows(*overlaps: float, written: bool = True) -> list[MaskRow]:
    return [MaskRow("p", f"clip {n}", n, Structure.LV_CAVITY, dice, written) for n, dice in enumerate(overlaps)]


def test_best_median_and_worst_are_those_by_dice() -> None:
    chosen = choose_rows(rows(0.5, 0.9, 0.7, 0.1, 0.8))
    assert {rank: row.dice for rank, row in chosen.items()} == {"best": 0.9, "median": 0.7, "worst": 0.1}


def test_few_rows_are_not_shown_twice() -> None:
    assert {rank: row.dice for rank, row in choose_rows(rows(0.5, 0.9)).items()} == {"best": 0.9, "worst": 0.5}
    assert set(choose_rows(rows(0.5))) == {"best"}
    assert not choose_rows(rows(0.0, written=False)), "nothing was written that could be shown"


def test_a_ring_has_two_outlines_where_the_picture_has_it() -> None:
    mask = np.zeros((50, 50), bool)
    mask[10:40, 10:40] = True
    mask[20:30, 20:30] = False
    transform = FrameTransform.crop_resize((0.0, 0.0, 50.0, 50.0), (50, 50), (200, 200))
    outlines = trace_outlines(mask, transform)
    areas = sorted(cv2.contourArea(np.array(outline, np.float32)) for outline in outlines)
    assert areas == pytest.approx([40 * 40, 120 * 120], rel=0.08)
    centres = [np.mean(outline, axis=0) for outline in outlines]
    assert np.allclose(centres, 99.5, atol=2)


def test_an_empty_mask_has_no_outline() -> None:
    transform = FrameTransform.crop_resize((0.0, 0.0, 8.0, 8.0), (8, 8), (32, 32))
    assert trace_outlines(np.zeros((8, 8), bool), transform) == ()


def test_without_a_sector_the_picture_is_black() -> None:
    frame = np.full((60, 80), 200, np.uint8)
    assert not show_frame(FramePreparer((60, 80), None, 32), frame).any()
    assert show_frame(FramePreparer((60, 80), Sector((0.0, 0.0, 80.0, 60.0)), 32), frame).any()
