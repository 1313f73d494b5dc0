"""Corrections of a clip are valid from birth and go through JSON without loss."""

import math

import pytest
from pydantic import ValidationError

from echoapex.domain import Spacing, WallPoint
from echoapex.domain.corrections import ClipCorrection
from echoapex.vocabulary import Structure, View

POINTS = {point: (10.0, 20.5 + index) for index, point in enumerate(WallPoint)}


def test_a_correction_survives_json() -> None:
    correction = ClipCorrection(
        clip_id="c1",
        input_sha256="ab" * 32,
        view=View.PLAX,
        set_aside=False,
        ed_frames=(31, 4, 4),
        es_frames=(17,),
        row_mm=0.31,
        column_mm=0.3,
        calibration_source="ruler at the left",
        wall_points={4: POINTS},
        outlined={9: ("left_atrium", "lv_cavity"), 3: ("lv_cavity",)},
    )
    again = ClipCorrection.model_validate_json(correction.model_dump_json())
    assert again == correction
    assert again.ed_frames == (4, 31)
    assert again.spacing == Spacing(0.31, 0.3)
    assert again.spacing_source == "set by hand: ruler at the left"
    assert again.wall_points[4][WallPoint.SEPTUM_LV_SIDE] == POINTS[WallPoint.SEPTUM_LV_SIDE]
    assert again.outlined_on(9) == {Structure.LV_CAVITY, Structure.LEFT_ATRIUM}
    assert again.outlined_on(5) == frozenset()
    assert not again.is_empty


def test_a_fresh_correction_is_empty() -> None:
    correction = ClipCorrection(clip_id="c1", outlined={3: ()})
    assert correction.is_empty
    assert correction.spacing is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ed_frames": (-1, 3)}, "frames count from 0"),
        ({"es_frames": (-2,)}, "frames count from 0"),
        ({"wall_points": {-1: POINTS}}, "frames count from 0"),
        ({"outlined": {-1: ("lv_cavity",)}}, "frames count from 0"),
        ({"row_mm": 0.3}, "both or neither"),
        ({"column_mm": 0.3}, "both or neither"),
        ({"row_mm": 0.009, "column_mm": 0.3}, "not plausible"),
        ({"row_mm": 0.3, "column_mm": 5.1}, "not plausible"),
        ({"row_mm": math.nan, "column_mm": 0.3}, "not plausible"),
        ({"wall_points": {0: {WallPoint.SEPTUM_LV_SIDE: (1.0, 2.0)}}}, "give all four"),
        ({"wall_points": {0: POINTS | {WallPoint.SEPTUM_LV_SIDE: (math.inf, 2.0)}}}, "no finite number"),
        ({"outlined": {0: ("spleen",)}}, "is no structure"),
        ({"clip_id": ""}, "at least 1 character"),
    ],
)
def test_a_wrong_correction_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ClipCorrection.model_validate({"clip_id": "c1"} | values)


def test_a_source_says_once_that_it_was_set_by_hand() -> None:
    told = [
        ClipCorrection(clip_id="c1", row_mm=1, column_mm=1, calibration_source=source).spacing_source
        for source in ("", "set by hand from the ruler", " depth scale ")
    ]
    assert told == ["set by hand", "set by hand from the ruler", "set by hand: depth scale"]
