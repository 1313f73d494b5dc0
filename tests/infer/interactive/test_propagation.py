"""From one corrected frame to the clip: the corrected frame stays, and the change is carried on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from conftest import LabelledStudy
from drawn_clips import draw_clip
from tiny_tasks import build_tasks, interactive_segmenter

import echoapex
from echoapex.domain import ClipHeader
from echoapex.infer.interactive.propagation import InteractiveClip, InteractiveError, segment_clip
from echoapex.models.prompt_sampling import Click
from echoapex.vocabulary import Structure, View

FRAMES, SIDE = 5, 96
SEGMENTER = interactive_segmenter(build_tasks())


class Drawn:
    """A drawn clip as a source."""

    def __init__(self) -> None:
        self._frames, _, truth = draw_clip(4, frames=FRAMES, size=SIDE)
        times = tuple(float(t) for t in np.asarray(truth["times_s"]))
        self.header = ClipHeader("drawn", (SIDE, SIDE), times, spacing_reason="drawn")

    def frames(self) -> Iterator[np.ndarray]:
        return iter(self._frames)


@pytest.fixture(scope="module")
def clip() -> InteractiveClip:
    return InteractiveClip.open(SEGMENTER, Drawn())


def test_the_corrected_frame_keeps_its_mask(clip: InteractiveClip) -> None:
    corrected = np.full((SIDE, SIDE), -3.0, np.float32)
    corrected[30:60, 30:50] = 3
    for structure in (None, Structure.LV_CAVITY):
        masks = clip.propagate(2, corrected, structure)
        assert masks.shape == (FRAMES, SIDE, SIDE)
        assert np.array_equal(masks[2], corrected > 0)


def test_a_strong_correction_reaches_all_frames_both_ways(clip: InteractiveClip) -> None:
    corrected = clip.automatic(2, Structure.LV_CAVITY).copy()
    corrected[40:50, 40:50] += 40
    corrected[60:70, 40:50] -= 40
    masks = clip.propagate(2, corrected, Structure.LV_CAVITY)
    assert masks[:, 41:49, 41:49].all()
    assert not masks[:, 61:69, 41:49].any()


def test_clicks_are_answered_one_after_another(clip: InteractiveClip) -> None:
    clicks = [Click(45.0, 45.0, True), Click(20.0, 60.0, False), Click(60.0, 30.0, True)]
    logits = clip.correct(1, clicks, Structure.LV_CAVITY)
    assert logits[45, 45] > 0
    assert logits[60, 20] <= 0
    assert logits[30, 60] > 0
    assert np.array_equal(clip.correct(1, [], Structure.LV_CAVITY), clip.automatic(1, Structure.LV_CAVITY))
    assert clip.automatic_masks(Structure.LV_CAVITY).shape == (FRAMES, SIDE, SIDE)


def test_what_cannot_be_answered_is_said(clip: InteractiveClip) -> None:
    with pytest.raises(InteractiveError, match="give a click or the name"):
        clip.correct(0, [])
    with pytest.raises(InteractiveError, match="frames 0 to 4"):
        clip.correct(FRAMES, [], Structure.LV_CAVITY)
    with pytest.raises(ValueError, match="outside the frame"):
        clip.correct(0, [Click(500.0, 3.0, True)])


def test_a_lost_neighbour_does_not_stop_the_way(clip: InteractiveClip) -> None:
    nothing = np.full((SIDE, SIDE), -3.0, np.float32)
    assert not clip.propagate(0, nothing).any(), "without a name nothing comes back"
    assert clip.propagate(0, nothing, Structure.LV_CAVITY).shape == (FRAMES, SIDE, SIDE)


def test_one_function_from_a_file_to_the_masks(labelled_study: LabelledStudy) -> None:
    truth = labelled_study.truth.find(View.A4C)
    assert truth is not None
    path = labelled_study.folder / truth.file
    masks = segment_clip(path, 0, [Click(80.0, 60.0, True)], Structure.LV_CAVITY, models=SEGMENTER)
    assert masks.shape == (len(truth.frame_times_s), *truth.size)
    assert masks[0, 60, 80]
    assert echoapex.segment_clip is segment_clip
