"""Chambers of one clip: the shapes drawn, from written contours, and nothing where a contour is not sound."""

from __future__ import annotations

import numpy as np
import pytest
from beating import beating_volume
from conftest import LabelledStudy
from drawn_hearts import SIZE, read_heart

from echoapex.domain import Flag, Measurement, Sector
from echoapex.infer.clip.chambers import measure_chambers
from echoapex.infer.clip.cycle import follow_outlines
from echoapex.infer.clip.outlines import ClipOutlines, outline_structures
from echoapex.infer.clip.reading import ClipReading
from echoapex.measure import atrial_disc_volume_ml, measure_atrial_shape, trace_outline
from echoapex.measure.outline import polygon_area
from echoapex.vocabulary import Quantity, Structure, View

PERIOD_S, FPS, EF = 0.8, 25.0, 55.0
TIMES = np.arange(0, 2 * PERIOD_S + 0.01, 1 / FPS)
VOLUMES = beating_volume(TIMES, PERIOD_S, EF)
LV = {Quantity.LV_LENGTH, Quantity.GLS_ENDOCARDIAL}
LA = {Quantity.LA_VOLUME, Quantity.LA_VOLUME_AREA_LENGTH}
RIGHT = {Quantity.RA_VOLUME, Quantity.RV_ED_AREA, Quantity.RV_ES_AREA, Quantity.RV_FAC}


def add_right_heart(outlines: ClipOutlines, rv_widths: np.ndarray, ra_radius: float = 14.0) -> None:
    """A rectangular RV, ``rv_widths`` wide and 60 high at the left of each frame, and a round RA that touches it."""
    y, x = np.mgrid[:SIZE, :SIZE]
    for frame, width in enumerate(rv_widths):
        labels = outlines.labels[frame].copy()
        labels[(abs(x - 35) <= width / 2) & (y >= 60) & (y < 120) & (labels == 0)] = Structure.RIGHT_VENTRICLE
        atrium = (x - 35) ** 2 + (y - 120 - ra_radius) ** 2 <= ra_radius**2
        labels[atrium & (y >= 120) & (labels == 0)] = Structure.RIGHT_ATRIUM
        outlines.labels[frame] = labels
        outlines.overlaps[frame] |= {Structure.RIGHT_VENTRICLE: 0.9, Structure.RIGHT_ATRIUM: 0.9}


def outlined(volumes: np.ndarray = VOLUMES, **how: object) -> tuple[ClipReading, ClipOutlines]:
    reading = read_heart(volumes, fps=FPS, **how)  # type: ignore[arg-type]
    return reading, outline_structures(reading, range(reading.header.frame_count))


def measured(reading: ClipReading, outlines: ClipOutlines) -> dict[Quantity, Measurement]:
    found = measure_chambers(reading, follow_outlines(reading, outlines), outlines)
    return {item.quantity: item for item in found}


def chambers(**how: object) -> dict[Quantity, Measurement]:
    return measured(*outlined(**how))  # type: ignore[arg-type]


def test_a_ventricle_that_shrinks_evenly_has_the_strain_of_its_volumes() -> None:
    """Volume goes with the cube of the scale, the contour with the scale."""
    strain = chambers()[Quantity.GLS_ENDOCARDIAL]
    assert strain.value == pytest.approx(100 * ((1 - EF / 100) ** (1 / 3) - 1), abs=1.5)
    assert strain.flags == (Flag.SINGLE_PLANE,)
    assert strain.method == "length of the endocardial contour, one view"
    assert all(len(frames) == 2 for frames in strain.details["beat_frames"])


def test_lv_length_and_sphericity_are_those_drawn_at_end_diastole() -> None:
    found = chambers()
    scale = (VOLUMES.max() / (2 / 3 * np.pi * 22 * 22 * 84 / 1000)) ** (1 / 3)
    assert found[Quantity.LV_LENGTH].value == pytest.approx(84 * scale, rel=0.03)
    assert found[Quantity.SPHERICITY_INDEX].value == pytest.approx(44 * 0.75**0.5 / 84, rel=0.03)
    assert Quantity.SPHERICITY_INDEX not in chambers(view=View.A2C)


def test_the_left_atrium_is_measured_on_the_frame_where_it_is_largest_near_end_systole() -> None:
    reading, outlines = outlined()
    item = measured(reading, outlines)[Quantity.LA_VOLUME]
    volumes = []
    for (frame,) in item.details["beat_frames"]:
        masks = [outlines.labels[frame] == structure for structure in (Structure.LEFT_ATRIUM, Structure.LV_CAVITY)]
        assert reading.header.spacing is not None
        volumes.append(atrial_disc_volume_ml(measure_atrial_shape(masks[0], masks[1], reading.header.spacing)))
        beside = (frame - 1, frame + 1)
        areas = [int((outlines.labels[each] == Structure.LEFT_ATRIUM).sum()) for each in (frame, *beside)]
        assert areas[0] >= min(areas[1:])
    assert item.value == pytest.approx(float(np.mean(volumes)), rel=0.03)
    assert item.flags == (Flag.SINGLE_PLANE,)


def test_areas_of_the_right_ventricle_and_their_change() -> None:
    reading, outlines = outlined()
    widths = np.round(20 + 16 * (VOLUMES - VOLUMES.min()) / np.ptp(VOLUMES))
    add_right_heart(outlines, widths)
    found = measured(reading, outlines)
    beats = found[Quantity.RV_FAC].details["beat_frames"]
    areas = [
        [polygon_area(trace_outline(outlines.labels[f] == Structure.RIGHT_VENTRICLE)) / 100 for f in ends]
        for ends in beats
    ]
    assert found[Quantity.RV_ED_AREA].value == pytest.approx(np.mean([ed for ed, _ in areas]), rel=0.02)
    assert found[Quantity.RV_ES_AREA].value == pytest.approx(np.mean([es for _, es in areas]), rel=0.02)
    assert found[Quantity.RV_FAC].value == pytest.approx(np.mean([100 * (1 - es / ed) for ed, es in areas]), abs=1)
    assert found[Quantity.RV_FAC].flags == ()


def test_the_right_atrium_is_a_sphere() -> None:
    reading, outlines = outlined()
    add_right_heart(outlines, np.full(TIMES.size, 30.0), ra_radius=16.0)
    item = measured(reading, outlines)[Quantity.RA_VOLUME]
    assert item.value == pytest.approx(4 / 3 * np.pi * 1.6**3, rel=0.06)
    assert item.flags == ()


def test_each_view_has_its_own_values() -> None:
    for view, wanted in (
        (View.A4C, LV | LA | RIGHT | {Quantity.SPHERICITY_INDEX}),
        (View.A2C, LV | LA),
        (View.PLAX, {Quantity.LA_DIAMETER}),
        (View.A3C, set()),
    ):
        reading, outlines = outlined(view=view)
        add_right_heart(outlines, 20 + 16 * VOLUMES / VOLUMES.max())
        assert set(measured(reading, outlines)) == wanted


def test_without_calibration_there_are_ratios_alone() -> None:
    reading, outlines = outlined(spacing=None)
    add_right_heart(outlines, 20 + 16 * VOLUMES / VOLUMES.max())
    assert set(measured(reading, outlines)) == {Quantity.GLS_ENDOCARDIAL, Quantity.RV_FAC}


def test_a_chamber_at_the_edge_of_the_sector_is_not_measured() -> None:
    reading, outlines = outlined(sector=Sector((0.0, 0.0, float(SIZE), float(SIZE))))
    add_right_heart(outlines, 20 + 16 * VOLUMES / VOLUMES.max())
    whole = measured(reading, outlines)
    assert whole.keys() >= RIGHT
    edge = min(int(np.nonzero(outlines.labels[f] == Structure.RIGHT_VENTRICLE)[1].min()) for f in range(TIMES.size))
    reading, outlines = outlined(sector=Sector((edge + 0.5, 0.0, float(SIZE), float(SIZE))))
    add_right_heart(outlines, 20 + 16 * VOLUMES / VOLUMES.max())
    assert set(whole) - set(measured(reading, outlines)) == {
        Quantity.RV_ED_AREA,
        Quantity.RV_ES_AREA,
        Quantity.RV_FAC,
    }


def test_a_frame_without_the_contour_or_with_a_doubtful_one_is_not_measured() -> None:
    reading, outlines = outlined()
    for frame in range(TIMES.size):
        outlines.overlaps[frame][Structure.LEFT_ATRIUM] = 0.0  # filled in from neighbours only
    assert set(measured(reading, outlines)) == set()
    reading, outlines = outlined()
    ends = measured(reading, outlines)[Quantity.GLS_ENDOCARDIAL].evidence[0].frames
    for frame in ends:
        outlines.overlaps[frame][Structure.LEFT_ATRIUM] = 0.3
    assert Quantity.GLS_ENDOCARDIAL not in measured(reading, outlines)


def test_nothing_is_measured_under_colour_or_without_a_beat() -> None:
    assert chambers(colour=(10.0, 10.0, 40.0, 40.0)) == {}
    assert measured(*outlined(np.full(40, 90.0))) == {}


def test_what_makes_a_value_doubtful_is_flagged() -> None:
    unsure = chambers(overlaps=dict.fromkeys(range(TIMES.size), 0.69))
    assert all(Flag.LOW_CONFIDENCE in item.flags for item in unsure.values())
    assert all(Flag.VIEW_UNCERTAIN in item.flags for item in chambers(view_probability=0.5).values())


def test_the_labels_of_a_phantom_give_its_chambers(labelled_study: LabelledStudy) -> None:
    """By the true label maps at the true ED and ES: this checks frames, contours and calibration, not the formulas."""
    from infer.clip.test_analyze import analyse, open_view

    from echoapex.phantom.truth import read_label_maps

    clip = labelled_study.truth.find(View.A4C)
    assert clip is not None
    report = analyse(labelled_study, open_view(labelled_study, View.A4C)).report
    found = {item.quantity: item for item in report.measurements}
    labels = read_label_maps(labelled_study.folder / clip.label_file)
    shape = measure_atrial_shape(labels[clip.es_frame] == 3, labels[clip.es_frame] == 1, clip.spacing)
    assert found[Quantity.LA_VOLUME].value == pytest.approx(atrial_disc_volume_ml(shape), rel=0.12)
    areas = [
        polygon_area(trace_outline(labels[frame] == Structure.RIGHT_VENTRICLE)) * clip.row_mm * clip.column_mm / 100
        for frame in (clip.ed_frame, clip.es_frame)
    ]
    assert found[Quantity.RV_ED_AREA].value == pytest.approx(areas[0], rel=0.1)
    assert found[Quantity.RV_ES_AREA].value == pytest.approx(areas[1], rel=0.15)
