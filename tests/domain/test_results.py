"""Results of the four applications are valid from birth."""

import numpy as np
import pytest

from echoapex.domain import Landmarks, Prompt, Segmentation, ViewPrediction, VolumeCurve, WallPoint
from echoapex.vocabulary import Structure, View


def test_view_probabilities_sum_to_one() -> None:
    prediction = ViewPrediction({View.A4C: 0.7, View.A2C: 0.3})
    assert (prediction.view, prediction.probability) == (View.A4C, 0.7)
    for bad in ({View.A4C: 0.7, View.A2C: 0.2}, {View.A4C: 1.2, View.A2C: -0.2}):
        with pytest.raises(ValueError, match="sum to one"):
            ViewPrediction(bad)


def test_a_label_map_gives_one_mask_per_structure() -> None:
    labels = np.array([[0, 1, 2], [3, 1, 0]], np.uint8)
    segmentation = Segmentation(4, labels, {Structure.LV_CAVITY: 0.9})
    assert segmentation.size == (2, 3)
    assert segmentation.mask(Structure.LV_CAVITY).tolist() == [[False, True, False], [False, True, False]]
    assert sum(int(segmentation.mask(structure).sum()) for structure in Structure) == 4
    with pytest.raises(ValueError, match="uint8"):
        Segmentation(0, labels.astype(np.int64), {})


def test_landmarks_name_all_four_points() -> None:
    points = dict.fromkeys(WallPoint, (1.0, 2.0))
    confidence = dict.fromkeys(WallPoint, 0.5)
    assert Landmarks(0, points, confidence).points_xy == points
    with pytest.raises(ValueError, match="all four"):
        Landmarks(0, {WallPoint.SEPTUM_LV_SIDE: (1.0, 2.0)}, confidence)


def test_a_curve_has_one_volume_and_time_per_frame() -> None:
    curve = VolumeCurve((0, 1), (0.0, 0.02), (1.0, 0.5), None, (0,), (1,), "discs")
    assert curve.ml is None
    for bad in (((0.0,), (1.0, 0.5), None), ((0.0, 0.1), (1.0,), None), ((0.0, 0.1), (1.0, 0.5), (100.0,))):
        with pytest.raises(ValueError, match="as many times and volumes as frames"):
            VolumeCurve((0, 1), *bad, (0,), (1,), "discs")


@pytest.mark.parametrize(
    "prompt",
    [
        {"positive_xy": ((3.0, 4.0),)},
        {"box_xyxy": (0.0, 0.0, 5.0, 5.0)},
        {"mask": np.zeros((10, 12), bool)},
        {"structure": Structure.LEFT_ATRIUM},
    ],
)
def test_one_thing_is_prompt_enough(prompt: dict) -> None:
    assert Prompt(size=(10, 12), **prompt).size == (10, 12)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ({}, "needs a point"),
        ({"positive_xy": ((12.0, 4.0),)}, "outside the frame of 12 x 10"),
        ({"negative_xy": ((3.0, -1.0),), "structure": Structure.LV_CAVITY}, "outside"),
        ({"box_xyxy": (5.0, 0.0, 5.0, 5.0)}, "is empty"),
        ({"mask": np.zeros((12, 10), bool)}, "earlier mask has size"),
    ],
)
def test_a_prompt_outside_the_frame_is_refused(prompt: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Prompt(size=(10, 12), **prompt)
