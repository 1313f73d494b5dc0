"""The LV over the beat: sizes are those drawn, and ED and ES are frames on which the LV was outlined."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from beating import ES_PHASE, beating_volume
from drawn_hearts import SIZE, read_heart

from echoapex.domain import Sector
from echoapex.infer.clip.cycle import (
    AREA_METHOD,
    DECODER_METHOD,
    DISCS_METHOD,
    NOT_OUTLINED,
    LvCycle,
    curve_points,
    follow_decoder,
    follow_outlines,
    is_lv_cut_off,
    lv_shape,
    take_shapes,
)
from echoapex.infer.clip.outlines import ClipOutlines, outline_structures
from echoapex.infer.clip.reading import ClipReading
from echoapex.measure.cardiac_cycle import HARDLY_CHANGES, NO_SYSTOLE
from echoapex.vocabulary import Structure, View

PERIOD_S, FPS = 0.8, 25.0
TIMES = np.arange(0, 2 * PERIOD_S + 0.01, 1 / FPS)
VOLUMES = beating_volume(TIMES, PERIOD_S, 55)
ED, ES = 0, round(ES_PHASE * PERIOD_S * FPS)


def outlined(reading: ClipReading) -> ClipOutlines:
    return outline_structures(reading, range(reading.header.frame_count))


def follow(volumes: np.ndarray = VOLUMES, *, decoder: np.ndarray | None = None, **how: object) -> LvCycle:
    reading = read_heart(volumes, fps=FPS, **how)  # type: ignore[arg-type]
    return follow_outlines(reading, outlined(reading), decoder)


def test_sizes_are_the_volumes_that_were_drawn() -> None:
    cycle = follow()
    assert cycle.method == DISCS_METHOD
    assert cycle.sizes == pytest.approx(VOLUMES, rel=0.04)
    assert set(cycle.shapes) == set(cycle.frames) == set(range(TIMES.size))
    assert cycle.reason == ""


def test_beats_are_those_that_were_drawn() -> None:
    cycle = follow()
    assert cycle.es_frames == pytest.approx((ES, ES + 20), abs=1)
    assert cycle.ed_frames == pytest.approx((ED, 20), abs=2)
    assert cycle.averaged_es_frames[0] in cycle.es_frames
    assert cycle.largest_frame in (0, 1, 19, 20, 21, 39, 40)


def test_beats_in_the_midst_of_the_clip_go_before_those_that_its_ends_may_have_cut() -> None:
    times = np.arange(0, 3.2, 1 / FPS)
    cycle = follow(beating_volume(times, PERIOD_S, 55))
    assert cycle.cycles is not None
    assert len(cycle.beats) < len(cycle.cycles.beats)
    assert all(beat.ed_frame > 0 and beat.es_frame < times.size - 1 and beat.is_complete for beat in cycle.beats)


def test_an_outline_that_the_decoder_doubts_is_a_gap() -> None:
    cycle = follow(overlaps={ES: 0.3})
    assert np.isnan(cycle.sizes[ES])
    assert ES not in cycle.shapes
    assert ES not in cycle.es_frames
    assert cycle.es_frames[0] in (ES - 1, ES + 1)
    assert not np.isnan(follow(overlaps={ES: 0.8}).sizes[ES]), "0.8 beside 0.9 is no doubt"


def test_a_frame_without_lv_is_neither_ed_nor_es_although_the_curve_goes_through_it() -> None:
    holes = VOLUMES.copy()
    holes[[ES - 1, ES, ES + 1]] = 0
    cycle = follow(holes, decoder=VOLUMES / VOLUMES.max())
    assert cycle.cycles is not None
    assert not {ES - 1, ES, ES + 1} & {*cycle.es_frames, *cycle.ed_frames}
    assert cycle.es_frames, "the second beat is whole"


def test_a_beat_whose_end_systole_was_never_outlined_is_no_beat() -> None:
    times = np.arange(0, 0.9, 1 / FPS)
    volumes = beating_volume(times, PERIOD_S, 55)
    holes = volumes.copy()
    holes[ES - 2 : ES + 3] = 0
    cycle = follow(holes, decoder=volumes / volumes.max())
    assert cycle.es_frames == cycle.ed_frames == ()
    assert cycle.reason == NOT_OUTLINED


@pytest.mark.parametrize(("lost", "moves"), [([ES], True), ([ES - 1, ES, ES + 1], False)])
def test_an_end_moves_to_an_outlined_frame_one_away_and_no_farther(lost: list[int], moves: bool) -> None:
    holes = VOLUMES.copy()
    holes[lost] = 0
    found = follow(holes, decoder=VOLUMES / VOLUMES.max()).es_frames
    assert any(0 < abs(frame - ES) <= 2 for frame in found) is moves


def test_a_size_that_no_heart_reaches_between_two_frames_is_a_gap() -> None:
    spoilt = VOLUMES.copy()
    spoilt[33] = 8
    cycle = follow(spoilt)
    assert np.isnan(cycle.sizes[33])
    assert 33 not in cycle.shapes
    assert 33 not in cycle.es_frames


def test_without_a_beat_there_is_the_reason_and_the_largest_frame() -> None:
    still = follow(np.full(40, 90.0))
    assert still.beats == ()
    assert still.reason == HARDLY_CHANGES
    slow = follow(100 + 30 * np.cos(np.arange(120) / FPS * np.pi / 2.0))
    assert slow.beats == ()
    assert slow.reason == NO_SYSTOLE
    few = follow(np.array([90.0, 100.0]))
    assert "at least three" in few.reason
    assert few.largest_frame == 1
    assert follow(np.zeros(5)).largest_frame is None


def test_other_views_are_followed_by_area_and_have_no_volume_curve() -> None:
    cycle = follow(view=View.PSAX_PM)
    assert cycle.method == AREA_METHOD
    assert cycle.es_frames[0] == pytest.approx(ES, abs=1)
    assert cycle.volume_curve() is None
    assert cycle.shapes == {}


def test_the_curve_has_a_point_for_each_measured_frame_and_no_other() -> None:
    holes = VOLUMES.copy()
    holes[[5, 6]] = 0
    curve = follow(holes).volume_curve()
    assert curve is not None
    assert curve.frames == tuple(frame for frame in range(TIMES.size) if frame not in (5, 6))
    assert curve.times_s == pytest.approx([TIMES[frame] for frame in curve.frames])
    assert max(curve.relative) == 1
    assert curve.ml is not None
    assert np.array(curve.ml) == pytest.approx(holes[list(curve.frames)], rel=0.1)
    points = curve_points(curve)
    assert [point.frame for point in points] == list(curve.frames)
    assert points[3].ml == pytest.approx(curve.ml[3], abs=1e-3)


def test_without_calibration_the_curve_has_no_ml() -> None:
    curve = follow(spacing=None).volume_curve()
    assert curve is not None
    assert curve.ml is None
    assert all(point.ml is None for point in curve_points(curve))


def test_the_decoders_curve_needs_no_outline_until_its_ends_are_outlined() -> None:
    reading = read_heart(VOLUMES, fps=FPS)
    cycle = follow_decoder(reading, VOLUMES / VOLUMES.max())
    assert cycle.method == DECODER_METHOD
    assert len(cycle.beats) >= 1
    frames = sorted({*cycle.averaged_ed_frames, *cycle.averaged_es_frames})
    whole = take_shapes(cycle, reading, outline_structures(reading, frames))
    assert set(whole.shapes) == set(frames)
    assert whole.averaged_es_frames == cycle.averaged_es_frames
    doubted = read_heart(VOLUMES, fps=FPS, overlaps={cycle.averaged_es_frames[0]: 0.2})
    lost = take_shapes(cycle, doubted, outline_structures(doubted, frames))
    assert cycle.averaged_es_frames[0] not in {*lost.shapes, *lost.es_frames}


def test_shape_and_cut_off_are_asked_of_the_native_picture() -> None:
    reading = read_heart(VOLUMES, fps=FPS, sector=Sector((0.0, 0.0, float(SIZE), float(SIZE))))
    labels = outlined(reading).labels[0]
    shape = lv_shape(reading, labels)
    assert shape.is_calibrated
    assert not is_lv_cut_off(reading, shape)
    columns = np.flatnonzero((labels == Structure.LV_CAVITY).any(axis=0))
    narrow = Sector((float(columns.mean()), 0.0, float(SIZE), float(SIZE)))
    cut = replace(reading, clip=replace(reading.clip, sector=narrow))
    half = np.where(np.arange(SIZE)[None] >= round(columns.mean()), labels, 0).astype(np.uint8)
    assert is_lv_cut_off(cut, lv_shape(cut, half))
