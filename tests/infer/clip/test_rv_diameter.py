"""RVIDd of a PLAX clip: from written evidence, on the frames of the walls, and a reason wherever there is none."""

from __future__ import annotations

import numpy as np
import pytest
from beating import beating_volume
from conftest import LabelledStudy
from drawn_hearts import SIZE, read_heart

from echoapex.domain import RV_ANTERIOR_BORDER, Flag, Measurement, Sector, Spacing, WallPoint
from echoapex.infer.clip.cycle import LvCycle, follow_outlines
from echoapex.infer.clip.outlines import ClipOutlines, outline_structures
from echoapex.infer.clip.reading import ClipReading
from echoapex.infer.clip.rv_diameter import measure_rv_diameter_of_clip, rv_diameter_from_evidence
from echoapex.infer.clip.walls import find_landmarks
from echoapex.measure import MeasureError
from echoapex.vocabulary import Quantity, Structure, View

FPS = 25.0
TIMES = np.arange(0, 2.5, 1 / FPS)
VOLUMES = beating_volume(TIMES, 0.8, 55)
SEPTUM_ROW, RV_MM = 45.0, 20
POINTS = np.column_stack([np.full(4, 80.0), SEPTUM_ROW + np.array([0.0, 10.0, 60.0, 69.0])])


def plax(**how: object) -> tuple[ClipReading, LvCycle, ClipOutlines]:
    """A clip at one millimetre a pixel, with the same wall points on every frame."""
    how = {"walls": dict.fromkeys(range(TIMES.size), POINTS), **how}
    reading = read_heart(VOLUMES, fps=FPS, view=View.PLAX, **how)  # type: ignore[arg-type]
    outlines = outline_structures(reading, range(reading.header.frame_count))
    return reading, follow_outlines(reading, outlines), outlines


def add_ventricle(outlines: ClipOutlines, frames: list[int], height: int = RV_MM, trust: float = 0.9) -> None:
    """A rectangular RV in front of the septum."""
    bottom = int(SEPTUM_ROW)
    for frame in frames:
        labels = outlines.labels[frame].copy()
        labels[bottom - height : bottom, 40:120] = Structure.RIGHT_VENTRICLE
        outlines.labels[frame] = labels
        outlines.overlaps[frame] |= {Structure.RIGHT_VENTRICLE: trust}


def measure(
    height: int = RV_MM, without: tuple[int, ...] = (), trust: float = 0.9, doubted: tuple[int, ...] = (), **how: object
) -> Measurement:
    """RVIDd with an RV on every frame but those at some places among the frames of the walls."""
    reading, cycle, outlines = plax(**how)
    landmarks = find_landmarks(reading, cycle)
    at = [item.frame for item in landmarks]
    bare = {at[place] for place in without}
    add_ventricle(outlines, [frame for frame in range(TIMES.size) if frame not in bare], height, trust)
    for place in doubted:
        outlines.overlaps[at[place]][Structure.RIGHT_VENTRICLE] = 0.1
    return measure_rv_diameter_of_clip(reading, cycle, landmarks, outlines)


def test_the_diameter_is_the_height_of_the_drawn_ventricle() -> None:
    """The upper edge of the uppermost pixel is half a pixel above its centre, as is that of the lowest above it."""
    item = measure()
    assert item.quantity is Quantity.RVIDD
    assert item.value == pytest.approx(RV_MM + 0.5, abs=0.02)
    assert item.confidence == pytest.approx(0.9)
    assert item.flags == ()
    assert item.details["view"] == "PLAX"
    assert len(item.details["per_frame_mm"]) == len(item.evidence[0].frames)


def test_it_is_measured_on_the_frames_of_the_walls_and_computed_from_its_evidence() -> None:
    reading, cycle, outlines = plax()
    landmarks = find_landmarks(reading, cycle)
    add_ventricle(outlines, list(range(TIMES.size)))
    item = measure_rv_diameter_of_clip(reading, cycle, landmarks, outlines)
    evidence = item.evidence[0]
    assert list(evidence.frames) == [each.frame for each in landmarks]
    names = {f"{name}@{frame}" for name in (*WallPoint, RV_ANTERIOR_BORDER) for frame in evidence.frames}
    assert set(evidence.points_xy) == names
    assert set(evidence.contours_xy) == {f"right_ventricle@{frame}" for frame in evidence.frames}
    for frame, length in zip(evidence.frames, item.details["per_frame_mm"], strict=True):
        again = rv_diameter_from_evidence(evidence, frame)
        assert round(again.length_mm, 3) == length
        assert evidence.points_xy[f"{RV_ANTERIOR_BORDER}@{frame}"] == pytest.approx(again.anterior_xy, abs=0.01)
        assert again.anterior_xy == pytest.approx((80.0, SEPTUM_ROW - RV_MM - 0.5), abs=0.02)


def test_rows_have_their_own_millimetres() -> None:
    assert measure(spacing=Spacing(0.5, 2.0)).value == pytest.approx((RV_MM + 0.5) / 2, abs=0.02)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"spacing": None}, "no region"),
        ({"colour": (0.0, 0.0, 20.0, 20.0)}, "colour Doppler hides the borders"),
        ({"without": (0, 1, 2, 3, 4, 5)}, "was not outlined at end-diastole"),
        ({"height": int(SEPTUM_ROW)}, "the image or its sector ends at the anterior border"),
        ({"sector": Sector((0.0, 26.0, float(SIZE), float(SIZE)))}, "the image or its sector ends at the anterior"),
        ({"trust": 0.0}, "in doubt at end-diastole"),
        ({"doubted": (0, 1, 2, 3, 4, 5)}, "in doubt at end-diastole"),
        ({"walls": dict.fromkeys(range(TIMES.size), np.add(POINTS, (0.0, 15.0)))}, "begins 16 mm away from the septum"),
        ({"walls": dict.fromkeys(range(TIMES.size), np.add(POINTS, (60.0, 0.0)))}, "does not meet the outline"),
    ],
)
def test_there_is_a_reason_of_one_line_and_no_value(how: dict[str, object], reason: str) -> None:
    with pytest.raises(MeasureError, match=reason) as refused:
        measure(**how)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)


def test_no_points_no_diameter() -> None:
    reading, cycle, outlines = plax()
    add_ventricle(outlines, list(range(TIMES.size)))
    with pytest.raises(MeasureError, match="no wall points"):
        measure_rv_diameter_of_clip(reading, cycle, (), outlines)


def test_frames_that_were_not_outlined_are_not_counted_and_a_minority_does_not_decide() -> None:
    reading, cycle, _ = plax()
    frames = [item.frame for item in find_landmarks(reading, cycle)]
    assert len(frames) == 6
    assert len(measure(without=(0, 3)).evidence[0].frames) == 4
    with pytest.raises(MeasureError, match="was not outlined"):
        measure(without=(0, 1, 3, 4))
    few = outline_structures(reading, frames[:1])
    add_ventricle(few, frames[:1])
    alone = measure_rv_diameter_of_clip(reading, cycle, find_landmarks(reading, cycle), few)
    assert alone.evidence[0].frames == (frames[0],)
    nothing = outline_structures(reading, [])
    with pytest.raises(MeasureError, match="no frame with wall points was outlined"):
        measure_rv_diameter_of_clip(reading, cycle, find_landmarks(reading, cycle), nothing)


def test_doubts_about_points_outline_and_view_are_flagged() -> None:
    assert measure(trust=0.69).flags == (Flag.LOW_CONFIDENCE,)
    assert measure(trust=0.69).confidence == pytest.approx(0.69)
    assert measure(wall_confidence=0.49).flags == (Flag.LOW_CONFIDENCE,)
    assert measure(view_probability=0.5).flags == (Flag.VIEW_UNCERTAIN,)


def test_a_clip_has_the_value_or_a_note_with_the_reason(labelled_study: LabelledStudy) -> None:
    """By the true outlines and points of a phantom: the diameter of its surfaces, or the sector cuts it off."""
    from infer.clip.test_analyze import analyse, open_view

    walls = next(clip.walls for clip in labelled_study.truth.clips if clip.view is View.PLAX)
    assert walls is not None
    report = analyse(labelled_study, open_view(labelled_study, View.PLAX)).report
    found = [item.value for item in report.measurements if item.quantity is Quantity.RVIDD]
    notes = [note for note in report.notes if note.startswith("no RVIDd: ")]
    assert len(found) + len(notes) == 1
    assert walls.rvidd_mm is not None or notes
    assert all(value == pytest.approx(walls.rvidd_mm, abs=1.0) for value in found)
