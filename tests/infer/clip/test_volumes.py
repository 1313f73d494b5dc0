"""Volumes, ejection fraction and heart rate of one clip: the values drawn, from contours that are written."""

from __future__ import annotations

import numpy as np
import pytest
from beating import ES_PHASE, beating_volume
from drawn_ecgs import draw_ecg
from drawn_hearts import SIZE, Estimate, read_heart

from echoapex.domain import Ecg, EcgOrigin, Flag, Measurement, Sector
from echoapex.infer.clip.chambers import measure_discs, why_no_discs
from echoapex.infer.clip.cycle import (
    LvCycle,
    follow_decoder,
    follow_outlines,
    is_lv_cut_off,
    measure_heart_rate,
    measure_regression_ef,
)
from echoapex.infer.clip.outlines import ClipOutlines, contour_key, outline_structures, shape_from_evidence
from echoapex.infer.clip.reading import ClipReading
from echoapex.measure import single_plane_volume
from echoapex.measure.cardiac_cycle import HARDLY_CHANGES
from echoapex.vocabulary import Quantity, View

PERIOD_S, FPS, EF = 0.8, 25.0, 55.0
TIMES = np.arange(0, 2 * PERIOD_S + 0.01, 1 / FPS)
VOLUMES = beating_volume(TIMES, PERIOD_S, EF)
ONE_SYSTOLE = VOLUMES[: round(ES_PHASE * PERIOD_S * FPS) + 1]


def follow(reading: ClipReading) -> tuple[LvCycle, ClipOutlines]:
    outlines = outline_structures(reading, range(reading.header.frame_count))
    return follow_outlines(reading, outlines), outlines


def discs(volumes: np.ndarray = VOLUMES, **how: object) -> dict[Quantity, Measurement]:
    reading = read_heart(volumes, fps=FPS, **how)  # type: ignore[arg-type]
    return {item.quantity: item for item in measure_discs(reading, *follow(reading))}


def test_discs_give_the_volumes_that_were_drawn() -> None:
    found = discs()
    assert found[Quantity.EDV].value == pytest.approx(VOLUMES.max(), rel=0.04)
    assert found[Quantity.ESV].value == pytest.approx(VOLUMES.min(), rel=0.05)
    assert found[Quantity.LVEF_DISCS].value == pytest.approx(EF, abs=2)
    assert found[Quantity.EDV].details["view"] == "A4C"


def test_a_value_is_that_of_its_written_contours_and_of_nothing_else() -> None:
    found = discs()
    for quantity, phase in ((Quantity.EDV, "ed_frames"), (Quantity.ESV, "es_frames")):
        item = found[quantity]
        evidence = item.evidence[0]
        assert evidence.frames == tuple(sorted({*item.details["ed_frames"], *item.details["es_frames"]}))
        assert set(evidence.contours_xy) == {
            contour_key(key, frame) for key in ("lv_cavity", "left_atrium") for frame in evidence.frames
        }
        volumes = [single_plane_volume(shape_from_evidence(evidence, frame)) for frame in item.details[phase]]
        assert len(volumes) == item.details["beats"]
        assert item.value == float(np.mean(volumes))


def test_values_are_means_over_the_beats() -> None:
    times = np.arange(0, 4 * PERIOD_S, 1 / FPS)
    swelling = beating_volume(times, PERIOD_S, EF) * (1 + 0.1 * np.floor(times / PERIOD_S + 0.1))
    item = discs(swelling)[Quantity.EDV]
    frames = item.details["ed_frames"]
    volumes = [single_plane_volume(shape_from_evidence(item.evidence[0], frame)) for frame in frames]
    assert item.details["beats"] == len(volumes) >= 2
    assert item.value == pytest.approx(np.mean(volumes))
    assert abs(item.value - volumes[0]) > 2


def test_the_probe_is_written_where_it_tells_base_from_apex() -> None:
    sector = Sector((10.0, 4.0, 160.0, 168.0))
    evidence = discs(sector=sector)[Quantity.EDV].evidence[0]
    assert evidence.points_xy == {"probe": (84.5, 4.0)}
    assert discs()[Quantity.EDV].evidence[0].points_xy == {}


def test_a_smoothed_or_filled_volume_is_never_the_value() -> None:
    """At end-systole the LV is lost on every frame; a curve through the gap would have a volume there."""
    holes = VOLUMES.copy()
    holes[0.6 * VOLUMES.max() > VOLUMES] = 0
    reading = read_heart(holes, fps=FPS)
    outlines = outline_structures(reading, range(TIMES.size))
    cycle = follow_outlines(reading, outlines, VOLUMES / VOLUMES.max())
    assert measure_discs(reading, cycle, outlines) == ()
    assert "not outlined" in why_no_discs(cycle)


def test_without_calibration_there_is_the_fraction_alone() -> None:
    found = discs(spacing=None)
    assert set(found) == {Quantity.LVEF_DISCS}
    assert found[Quantity.LVEF_DISCS].value == pytest.approx(EF, abs=2)


def test_discs_of_a_whole_sure_beat_carry_one_flag() -> None:
    assert discs()[Quantity.EDV].flags == (Flag.SINGLE_PLANE,)
    assert discs()[Quantity.EDV].confidence == pytest.approx(0.9)


def test_what_makes_discs_doubtful_is_flagged() -> None:
    assert Flag.INCOMPLETE_BEAT in discs(ONE_SYSTOLE)[Quantity.EDV].flags
    unsure = discs(overlaps=dict.fromkeys(range(TIMES.size), 0.69))[Quantity.EDV]
    assert Flag.LOW_CONFIDENCE in unsure.flags
    assert unsure.confidence == pytest.approx(0.69)
    sure = discs(overlaps=dict.fromkeys(range(TIMES.size), 0.71))[Quantity.EDV]
    assert Flag.LOW_CONFIDENCE not in sure.flags
    assert Flag.VIEW_UNCERTAIN in discs(view_probability=0.5)[Quantity.EDV].flags


def test_a_ventricle_at_the_edge_of_the_sector_is_flagged() -> None:
    reading = read_heart(VOLUMES, fps=FPS)
    cycle, _ = follow(reading)
    left = min(shape.outline_xy[:, 0].min() for shape in cycle.shapes.values())
    edge = Sector((float(left) + 0.5, 0.0, float(SIZE), float(SIZE)))
    assert is_lv_cut_off(read_heart(VOLUMES, sector=Sector((0, 0, SIZE, SIZE))), cycle.shapes[0]) is False
    assert Flag.STRUCTURE_CUT_OFF in discs(sector=edge)[Quantity.EDV].flags


def test_no_beat_gives_no_discs_and_the_reason() -> None:
    reading = read_heart(np.full(40, 90.0), fps=FPS)
    cycle, outlines = follow(reading)
    assert measure_discs(reading, cycle, outlines) == ()
    assert why_no_discs(cycle) == HARDLY_CHANGES


def test_outlines_that_do_not_eject_give_no_discs_and_the_reason() -> None:
    """The decoder sees a beat where the outlines stay as they are, and grow."""
    growing = np.linspace(80, 100, TIMES.size)
    reading = read_heart(growing, fps=FPS)
    cycle = follow_decoder(reading, VOLUMES / VOLUMES.max())
    outlines = outline_structures(reading, range(TIMES.size))
    cycle.shapes.update(follow_outlines(reading, outlines).shapes)
    assert cycle.beats
    found = measure_discs(reading, cycle, outlines)
    assert found == ()
    assert "larger at end-diastole" in why_no_discs(cycle)


@pytest.mark.parametrize(("half", "confidence"), [(0.0, 1.0), (10.0, 0.6), (25.0, 0.05), (40.0, 0.05)])
def test_confidence_of_the_regression_falls_with_its_interval(half: float, confidence: float) -> None:
    reading = read_heart(VOLUMES, fps=FPS)
    cycle, _ = follow(reading)
    found = measure_regression_ef(reading, Estimate(52.0, (52.0 - half, 52.0 + half), VOLUMES / VOLUMES.max()), cycle)
    assert found.value == 52.0
    assert found.interval == (52.0 - half, 52.0 + half)
    assert found.confidence == pytest.approx(confidence)
    assert found.evidence[0].frames == tuple(sorted({*cycle.averaged_ed_frames, *cycle.averaged_es_frames}))
    assert found.flags == ()


def test_the_regression_says_where_a_beat_is_missing() -> None:
    for volumes, flag in (
        (ONE_SYSTOLE, Flag.INCOMPLETE_BEAT),
        (np.full(40, 90.0), Flag.INCOMPLETE_BEAT),
        (VOLUMES[:1], Flag.SINGLE_FRAME),
    ):
        reading = read_heart(volumes, fps=FPS)
        estimate = Estimate(52.0, (47.0, 57.0), volumes / volumes.max())
        assert measure_regression_ef(reading, estimate, follow(reading)[0]).flags == (flag,)


def rate(volumes: np.ndarray = VOLUMES, **how: object) -> Measurement | None:
    reading = read_heart(volumes, fps=FPS, **how)  # type: ignore[arg-type]
    return measure_heart_rate(reading, follow(reading)[0])


def test_a_heart_rate_names_the_marks_that_told_it() -> None:
    found = rate()
    assert found is not None
    assert found.value == pytest.approx(75, abs=4)
    assert found.method == "beats of the LV size over time"
    ends, intervals = found.details["interval_frames"], found.details["intervals_s"]
    assert found.value == 60 / np.median(intervals)
    assert [(second - first) / FPS for first, second in ends] == pytest.approx(intervals)
    assert found.evidence[0].frames == tuple(sorted({frame for pair in ends for frame in pair}))
    assert found.details["marks"] in ("end-systole", "end-diastole")


def test_the_header_goes_first_and_is_flagged_where_the_beats_contradict_it() -> None:
    agreed, contradicted = rate(heart_rate_bpm=71.0), rate(heart_rate_bpm=50.0)
    assert agreed is not None
    assert contradicted is not None
    assert (agreed.value, agreed.method, agreed.flags, agreed.details) == (71.0, "header", (), {})
    assert agreed.evidence[0].frames == ()
    assert contradicted.value == 50.0
    assert contradicted.flags == (Flag.METHODS_DISAGREE,)
    assert contradicted.details["rate_of_marks"] == pytest.approx(75, abs=4)


def test_r_waves_go_before_beats() -> None:
    found = rate(r_wave_times_s=(0.0, 0.78, 1.56))
    assert found is not None
    assert found.method == "R waves of the file"
    assert found.value == pytest.approx(60 / 0.78)
    assert found.details["intervals_s"] == pytest.approx([0.78, 0.78])


def test_r_waves_of_the_trace_are_told_apart_from_those_of_the_file() -> None:
    drawn = draw_ecg(77, 250, 2.5, irregularity=0.0)
    found = rate(ecg=Ecg(drawn.samples, 0.0, 250.0, "mV", EcgOrigin.WAVEFORM))
    assert found is not None
    assert found.method == "R waves of the ECG trace"
    assert found.value == pytest.approx(77, abs=1)


def test_no_rate_where_times_are_assumed_or_no_beat_is_seen() -> None:
    assert rate(frame_times_known=False) is None
    assert rate(np.full(40, 90.0)) is None
    assert rate(ONE_SYSTOLE) is None
    assert rate(np.full(40, 90.0), heart_rate_bpm=64.0) is not None


def test_a_two_chamber_clip_is_measured_as_well() -> None:
    assert discs(view=View.A2C)[Quantity.EDV].details["view"] == "A2C"
