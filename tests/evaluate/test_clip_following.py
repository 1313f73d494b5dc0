"""Propagation scores against clips whose masks are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click_oracles import RightAfter
from reference_studies import make_clip

from echoapex.evaluate.click_scores import area_jitter, can_be_followed, follow_clip
from echoapex.evaluate.clicks import ClickProtocol
from echoapex.vocabulary import Structure, View

FRAMES = 8


def labels_of(frame: int) -> np.ndarray:
    labels = np.zeros((64, 64), np.uint8)
    labels[10 : 40 + frame, 10:40] = Structure.LV_CAVITY
    return labels


class KnownClip:
    """Propagates the truth; its automatic masks flicker between the truth and nothing but its left half."""

    def __init__(self) -> None:
        self.segmenter = RightAfter(1)
        self.corrected: np.ndarray | None = None

    def frame(self, number: int) -> Any:
        return labels_of(number)

    def automatic_masks(self, structure: Structure) -> np.ndarray:
        masks = self.propagate(0, np.zeros(0), structure)
        masks[1::2, :, 25:] = False
        return masks

    def propagate(self, number: int, corrected: np.ndarray, structure: Structure | None = None) -> np.ndarray:
        self.corrected = corrected
        return np.stack([labels_of(frame) == structure for frame in range(FRAMES)])


def test_dice_and_jitter_are_those_of_the_masks() -> None:
    reference = replace(make_clip("p", View.A4C), read_labels=lambda: {n: labels_of(n) for n in range(FRAMES)})
    clip = KnownClip()
    (found,) = follow_clip(lambda _path: clip, "p", reference, ClickProtocol())
    assert found.structure is Structure.LV_CAVITY, "what is not shown is not followed"
    assert (found.dice, found.corrected_dice, found.frames) == (1, 1, FRAMES - 1)
    assert found.jitter == found.true_jitter == pytest.approx(0)
    assert found.automatic_jitter > 0.5
    # four of the seven other frames are half masks
    assert found.automatic_dice == pytest.approx((4 * 2 / 3 + 3) / 7)


def test_a_lost_structure_wins_nothing_by_lying_still() -> None:
    class Lost(KnownClip):
        def propagate(self, number: int, corrected: np.ndarray, structure: Structure | None = None) -> np.ndarray:
            return np.zeros((FRAMES, 64, 64), bool)

    reference = replace(make_clip("p", View.A4C), read_labels=lambda: {n: labels_of(n) for n in range(FRAMES)})
    (found,) = follow_clip(lambda _path: Lost(), "p", reference, ClickProtocol())
    assert found.jitter == float("inf")
    assert found.dice == 0


def test_too_few_labelled_frames_are_no_clip() -> None:
    assert not can_be_followed({2: labels_of(2), 8: labels_of(8)})
    assert not can_be_followed({n: labels_of(n) for n in (0, 1, 2, 3, 5)})
    assert can_be_followed({n: labels_of(n) for n in range(3, 8)})

    def never(_path: Path) -> KnownClip:
        raise AssertionError("a clip that cannot be followed is not opened")

    assert follow_clip(never, "p", make_clip("p", View.A4C), ClickProtocol()) == []


def test_jitter_of_an_even_change_is_zero_and_scale_does_not_matter() -> None:
    curve = np.array([10, 13, 11, 15, 12, 9.0])
    assert area_jitter([5, 4, 3, 2]) == 0
    assert area_jitter(curve) == pytest.approx(area_jitter(7 * curve))
    assert area_jitter(curve) > area_jitter(np.sort(curve))
    with pytest.raises(ValueError, match="three frames"):
        area_jitter([1, 2])
    with pytest.raises(ValueError, match="not all of them zero"):
        area_jitter([0, 0, 0])
