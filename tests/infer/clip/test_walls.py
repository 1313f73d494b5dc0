"""Walls of a PLAX clip: medians over the frames around end-diastole, in mm, flagged where doubtful."""

from __future__ import annotations

import numpy as np
import pytest
from beating import beating_volume
from drawn_hearts import SIZE, read_heart

from echoapex.domain import Flag, Landmarks, Measurement, Spacing, WallPoint
from echoapex.infer.clip.cycle import LvCycle, follow_outlines
from echoapex.infer.clip.outlines import outline_structures
from echoapex.infer.clip.reading import ClipReading
from echoapex.infer.clip.walls import find_landmarks, hidden_by_colour, measure_wall_thickness
from echoapex.vocabulary import Quantity, View

FPS = 25.0
TIMES = np.arange(0, 2.5, 1 / FPS)
VOLUMES = beating_volume(TIMES, 0.8, 55)


def points(septum_mm: float = 10.0, cavity_mm: float = 50.0, posterior_mm: float = 9.0) -> np.ndarray:
    """Four end points on a line down the picture, at one millimetre a pixel."""
    depths = np.cumsum([30.0, septum_mm, cavity_mm, posterior_mm])
    return np.column_stack([np.full(4, 80.0), depths])


def plax(volumes: np.ndarray = VOLUMES, **how: object) -> ClipReading:
    how = {"walls": dict.fromkeys(range(len(volumes)), points()), **how}
    return read_heart(volumes, fps=FPS, view=View.PLAX, **how)  # type: ignore[arg-type]


def follow(reading: ClipReading) -> LvCycle:
    return follow_outlines(reading, outline_structures(reading, range(reading.header.frame_count)))


def measure(reading: ClipReading) -> dict[Quantity, Measurement]:
    cycle = follow(reading)
    found = measure_wall_thickness(reading, cycle, find_landmarks(reading, cycle))
    return {item.quantity: item for item in found}


def test_lengths_are_those_between_the_points() -> None:
    found = measure(plax())
    assert {quantity: item.value for quantity, item in found.items()} == pytest.approx(
        {Quantity.IVSD: 10.0, Quantity.LVIDD: 50.0, Quantity.LVPWD: 9.0}
    )
    assert all(item.flags == () for item in found.values())
    assert found[Quantity.IVSD].confidence == pytest.approx(0.9)


def test_rows_and_columns_have_their_own_millimetres() -> None:
    assert measure(plax(spacing=Spacing(0.5, 2.0)))[Quantity.LVIDD].value == pytest.approx(25.0)


def test_points_are_found_on_ed_and_its_neighbours() -> None:
    reading = plax()
    cycle = follow(reading)
    assert cycle.averaged_ed_frames
    wanted = {frame + step for frame in cycle.averaged_ed_frames for step in (-1, 0, 1)}
    landmarks = find_landmarks(reading, cycle)
    assert [item.frame for item in landmarks] == sorted(frame for frame in wanted if 0 <= frame < TIMES.size)
    assert landmarks[0].points_xy[WallPoint.SEPTUM_LV_SIDE] == (80.0, 40.0)


def test_one_wild_frame_of_three_does_not_move_the_median() -> None:
    reading = plax()
    ed = follow(reading).averaged_ed_frames[0]
    wild = {**dict.fromkeys(range(TIMES.size), points()), ed: points(septum_mm=25.0)}
    item = measure(plax(walls=wild))[Quantity.IVSD]
    assert item.value == pytest.approx(10.0)
    assert 25.0 in item.details["per_frame_mm"]


def test_the_evidence_holds_each_point_of_each_frame() -> None:
    evidence = measure(plax())[Quantity.LVPWD].evidence[0]
    assert set(evidence.points_xy) == {f"{point}@{frame}" for point in WallPoint for frame in evidence.frames}
    assert evidence.row_mm == 1.0


def test_without_a_beat_the_largest_cavity_stands_for_end_diastole_and_is_flagged() -> None:
    volumes = np.full(30, 90.0)
    volumes[12] = 92.0
    reading = plax(volumes)
    assert 12 in [item.frame for item in find_landmarks(reading, follow(reading))]
    assert measure(reading)[Quantity.LVIDD].flags == (Flag.INCOMPLETE_BEAT,)


def test_a_still_is_measured_on_its_one_frame() -> None:
    found = measure(plax(VOLUMES[:1]))
    assert found[Quantity.LVIDD].evidence[0].frames == (0,)
    assert found[Quantity.LVIDD].flags == (Flag.SINGLE_FRAME,)


def test_points_that_few_trust_are_flagged() -> None:
    assert measure(plax(wall_confidence=0.49))[Quantity.IVSD].flags == (Flag.LOW_CONFIDENCE,)
    assert measure(plax(wall_confidence=0.51))[Quantity.IVSD].flags == ()


def test_no_millimetre_without_calibration_and_no_length_without_points() -> None:
    reading = plax(spacing=None)
    cycle = follow(reading)
    assert measure_wall_thickness(reading, cycle, find_landmarks(reading, cycle)) == ()
    assert measure_wall_thickness(plax(), follow(plax()), ()) == ()
    same = {row: np.full((4, 2), 80.0) for row in range(TIMES.size)}
    assert measure(plax(walls=same)) == {}


@pytest.mark.parametrize(
    ("box", "hidden"),
    [
        ((70.0, 25.0, 90.0, 35.0), {Quantity.IVSD}),
        ((70.0, 36.0, 90.0, 45.0), {Quantity.IVSD, Quantity.LVIDD}),
        ((70.0, 95.0, 90.0, 105.0), {Quantity.LVPWD}),
        ((0.0, 0.0, 60.0, float(SIZE)), set()),
    ],
)
def test_a_length_that_ends_under_colour_is_not_measured(
    box: tuple[float, float, float, float], hidden: set[Quantity]
) -> None:
    reading = plax(colour=box)
    landmarks = (
        Landmarks(0, dict(zip(WallPoint, map(tuple, points()), strict=True)), dict.fromkeys(WallPoint, 0.9)),  # type: ignore[arg-type]
    )
    assert set(hidden_by_colour(reading, landmarks)) == hidden
    found = {item.quantity: item for item in measure_wall_thickness(reading, follow(reading), landmarks)}
    assert set(found) == {Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD} - hidden
    assert all(Flag.UNDER_COLOUR in item.flags for item in found.values())
