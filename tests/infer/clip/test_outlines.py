"""ClipOutlines come home to native pixels, without islands and without what colour hides."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_hearts import SIZE, DrawnModels, draw_ventricle, read_heart

from echoapex.domain import Segmentation
from echoapex.infer.clip.outlines import ClipOutlines, LabelMaps, outline_structures
from echoapex.vocabulary import VISIBLE_STRUCTURES, Structure, View

VOLUMES = np.array([100.0, 80.0, 60.0])


def test_labels_are_the_masks_that_were_drawn() -> None:
    outlines = outline_structures(read_heart(VOLUMES), range(3))
    assert outlines.labels.frames == (0, 1, 2)
    for frame in range(3):
        cavity, atrium = draw_ventricle(VOLUMES[frame])
        assert ((outlines.labels[frame] == Structure.LV_CAVITY) == cavity).mean() > 0.999
        assert ((outlines.labels[frame] == Structure.LEFT_ATRIUM) == atrium).mean() > 0.999
    assert set(outlines.overlaps[0]) == set(VISIBLE_STRUCTURES[View.A4C])


def test_a_frame_is_outlined_once() -> None:
    reading = read_heart(VOLUMES)
    outlines = outline_structures(reading, [1])
    outline_structures(reading, [0, 1, 2], outlines)
    assert isinstance(reading.interpreter, DrawnModels)
    assert reading.interpreter.asked == [1, 0, 2]
    assert outlines.labels.frames == (0, 1, 2)


def test_an_island_is_taken_out_and_a_large_part_is_kept() -> None:
    class Speckled(DrawnModels):
        def segment(self, encoded, rows, structures):  # type: ignore[no-untyped-def]
            for row, masks, overlap in super().segment(encoded, rows, structures):
                masks[0, 2:6, 2:6] = 1.0
                yield row, masks, overlap

    reading = read_heart(VOLUMES)
    object.__setattr__(reading, "interpreter", Speckled(VOLUMES))
    labels = outline_structures(reading, [0]).labels[0]
    assert not labels[:8, :8].any()
    assert (labels == Structure.LV_CAVITY).sum() == pytest.approx(draw_ventricle(100.0)[0].sum(), rel=0.01)


def test_nothing_under_colour_is_labelled() -> None:
    box = (60.0, 40.0, 110.0, 90.0)
    whole = outline_structures(read_heart(VOLUMES), [0]).labels[0]
    labels = outline_structures(read_heart(VOLUMES, colour=box), [0]).labels[0]
    assert whole[40:90, 60:110].any()
    assert not labels[40:90, 60:110].any()
    outside = np.ones((SIZE, SIZE), bool)
    outside[40:90, 60:110] = False
    assert (labels[outside] == whole[outside]).all()


def test_overlaps_stay_between_nothing_and_all() -> None:
    outlines = outline_structures(read_heart(VOLUMES, overlaps={0: 1.7, 1: -0.2}), range(3))
    found = [outlines.overlaps[frame][Structure.LV_CAVITY] for frame in range(3)]
    assert found == pytest.approx([1.0, 0.0, 0.9])


def test_overlaps_are_averaged_over_the_frames_that_have_them() -> None:
    outlines = ClipOutlines(LabelMaps((4, 4)))
    empty = np.zeros((4, 4), np.uint8)
    outlines.add(Segmentation(0, empty, {Structure.LV_CAVITY: 0.8, Structure.LEFT_ATRIUM: 0.6}))
    outlines.add(Segmentation(1, empty, {Structure.LV_CAVITY: 0.4}))
    assert outlines.mean_overlaps() == pytest.approx({Structure.LV_CAVITY: 0.6, Structure.LEFT_ATRIUM: 0.6})
    assert outlines.overlap([1], Structure.LV_CAVITY) == pytest.approx(0.4)
    assert outlines.overlap([0, 1, 7], Structure.LEFT_ATRIUM) == pytest.approx(0.6)
    assert outlines.overlap([1], Structure.LEFT_ATRIUM) is None
