"""A clip computed again: unchanged without corrections, and with them changed only where they matter."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import LabelledStudy
from infer.review.conftest import Reviewed, open_view
from phantom_oracle import PhantomOracle

from echoapex.domain import ContentKind, Measurement, Spacing, WallPoint
from echoapex.domain.corrections import ClipCorrection
from echoapex.infer.clip.analyze import ClipAnalysis
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.infer.review.recomputation import CORRECTED, SET_ASIDE_BY_PERSON, ClipRecomputation, ReviewError
from echoapex.io.clip_source import ClipInMemory, load_clip
from echoapex.io.study_files import open_only_clip
from echoapex.vocabulary import Quantity, Structure, View


def correct(reviewed: Reviewed, **changes: object) -> ClipCorrection:
    return ClipCorrection.model_validate({"clip_id": reviewed.clip.header.clip_id, **changes})


def values(analysis: ClipAnalysis) -> dict[Quantity, Measurement]:
    return {item.quantity: item for item in analysis.report.measurements}


def same_values(first: Measurement, second: Measurement) -> bool:
    return first == second.model_copy(update={"details": first.details}) and CORRECTED not in second.details


def shrunk(labels: np.ndarray, structure: Structure) -> np.ndarray:
    """A label map whose structure has lost its left fifth."""
    columns = np.flatnonzero((labels == structure).any(axis=0))
    drawn = np.array(labels)
    lost = drawn[:, : columns[len(columns) // 5]]
    lost[lost == structure] = 0
    return drawn


def test_without_corrections_the_analysis_is_the_same_bit_for_bit(a4c: Reviewed, plax: Reviewed) -> None:
    for reviewed in (a4c, plax):
        found = reviewed.clip.reanalyze(correct(reviewed))
        assert found.report.model_dump_json() == reviewed.before.report.model_dump_json()
        assert found.labels.frames == reviewed.before.labels.frames
        assert all(np.array_equal(found.labels[frame], reviewed.before.labels[frame]) for frame in found.labels)
        assert (found.signature, found.sector) == (reviewed.before.signature, reviewed.before.sector)
        assert found.landmarks == reviewed.before.landmarks


def test_models_are_asked_once(labelled_study: LabelledStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    reviewed = open_view(labelled_study, View.PLAX)
    before = reviewed.clip.automatic
    for name in ("encode", "classify_view", "segment", "find_wall_points"):
        monkeypatch.delattr(type(labelled_study.oracle), name)
    found = reviewed.clip.reanalyze(correct(reviewed, row_mm=0.5, column_mm=0.5))
    assert found.report.view is before.report.view


def test_a_corrected_mask_changes_exactly_what_rests_on_it(a4c: Reviewed) -> None:
    before = values(a4c.before)
    (frame,) = before[Quantity.RA_VOLUME].evidence[0].frames
    drawn = shrunk(a4c.before.labels[frame], Structure.RIGHT_ATRIUM)
    found = a4c.clip.reanalyze(correct(a4c, outlined={frame: ("right_atrium",)}), {frame: drawn})
    after = values(found)
    assert after.keys() == before.keys()
    changed = {quantity for quantity in before if not same_values(before[quantity], after[quantity])}
    assert changed == {Quantity.RA_VOLUME}
    atrium = after[Quantity.RA_VOLUME]
    assert atrium.value < before[Quantity.RA_VOLUME].value
    assert atrium.details[CORRECTED] == [f"right_atrium@{frame}"]
    assert atrium.confidence == 1.0, "a person is sure of the outline"
    assert "corrected by a person: outlines of 1 frames" in found.report.notes
    assert np.array_equal(found.labels[frame], drawn)
    others = [other for other in found.labels if other != frame]
    assert all(np.array_equal(found.labels[other], a4c.before.labels[other]) for other in others)
    assert found.report.quality == a4c.before.report.quality


def grown(labels: np.ndarray) -> np.ndarray:
    """A label map whose LV cavity is a pixel larger on all sides."""
    cavity = cv2.dilate((labels == Structure.LV_CAVITY).astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.where(cavity == 1, np.uint8(Structure.LV_CAVITY), labels)


def test_a_corrected_cavity_reaches_the_discs_and_does_not_move_the_beat(a4c: Reviewed) -> None:
    frame = a4c.before.report.es_frames[0]
    drawn = grown(a4c.before.labels[frame])
    found = a4c.clip.reanalyze(correct(a4c, outlined={frame: ("lv_cavity",)}), {frame: drawn})
    esv = values(found)[Quantity.ESV]
    assert esv.value > 1.02 * values(a4c.before)[Quantity.ESV].value
    assert f"lv_cavity@{frame}" in esv.details[CORRECTED]
    assert esv.details["es_frames"] == [frame], "a neighbour with a smaller outline does not become end-systole"
    assert values(found)[Quantity.EDV].value == values(a4c.before)[Quantity.EDV].value
    assert values(found)[Quantity.LVEF].value == values(a4c.before)[Quantity.LVEF].value


def test_beats_are_found_in_outlines_that_are_mostly_a_persons(a4c: Reviewed) -> None:
    """The clip backwards in time: end-systole moves with the outlines."""
    frames = list(a4c.before.labels)
    drawn = {frame: a4c.before.labels[other] for frame, other in zip(frames, reversed(frames), strict=True)}
    found = a4c.clip.reanalyze(correct(a4c, outlined=dict.fromkeys(drawn, ("lv_cavity",))), drawn)
    assert found.report.ed_frames != a4c.before.report.ed_frames
    assert all(point.relative > 0 for point in found.report.volume_curve)


def test_a_frame_outside_the_cycle_is_kept_but_not_measured(labelled_study: LabelledStudy) -> None:
    reviewed = open_view(labelled_study, View.A4C, AnalysisOptions(max_segmented_frames=12))
    frame = next(f for f in range(reviewed.clip.header.frame_count) if f not in reviewed.before.labels)
    drawn = np.zeros(reviewed.clip.header.size, np.uint8)
    drawn[60:90, 60:90] = Structure.LV_CAVITY
    found = reviewed.clip.reanalyze(correct(reviewed, outlined={frame: ("lv_cavity",)}), {frame: drawn})
    assert ((found.labels[frame] == Structure.LV_CAVITY) == (drawn == Structure.LV_CAVITY)).all()
    assert found.report.measurements == reviewed.before.report.measurements


def test_a_calibration_set_by_hand_gives_mm_and_ml(labelled_study: LabelledStudy) -> None:
    truth = labelled_study.truth.find(View.A4C)
    assert truth is not None
    clip = load_clip(open_only_clip(labelled_study.folder / truth.file))
    spacing = clip.header.spacing
    assert spacing is not None
    bare = replace(clip, header=replace(clip.header, spacing=None, spacing_reason="no ruler was read"))
    reviewed = ClipRecomputation(labelled_study.oracle, ClipInMemory(bare))
    assert Quantity.EDV not in values(reviewed.automatic)
    asked = ClipCorrection(
        clip_id=clip.header.clip_id,
        row_mm=spacing.row_mm,
        column_mm=spacing.column_mm,
        calibration_source="ruler at the left",
    )
    found = reviewed.reanalyze(asked)
    edv = values(found)[Quantity.EDV]
    known = open_view(labelled_study, View.A4C).before
    assert edv.value == values(known)[Quantity.EDV].value
    assert edv.evidence[0].calibration_source == "set by hand: ruler at the left"
    assert edv.details[CORRECTED] == ["calibration"]
    assert (found.report.row_mm, found.header.spacing) == (spacing.row_mm, Spacing(spacing.row_mm, spacing.column_mm))
    assert "no volumes in mL: no ruler was read" not in found.report.notes
    assert CORRECTED not in values(found)[Quantity.LVEF_DISCS].details


def test_a_moved_end_changes_the_discs_and_is_kept(a4c: Reviewed) -> None:
    ed, es = a4c.before.report.ed_frames[0], a4c.before.report.es_frames[0]
    found = a4c.clip.reanalyze(correct(a4c, ed_frames=(ed + 4,)))
    assert (found.report.ed_frames, found.report.es_frames) == ((ed + 4,), (es,))
    discs = values(found)[Quantity.LVEF_DISCS]
    assert discs.details["ed_frames"] == [ed + 4]
    assert discs.value < values(a4c.before)[Quantity.LVEF_DISCS].value
    assert discs.details[CORRECTED] == ["end-diastole"]
    assert same_values(values(a4c.before)[Quantity.HEART_RATE], values(found)[Quantity.HEART_RATE])
    unmoved = a4c.clip.reanalyze(correct(a4c, ed_frames=(ed,), es_frames=(es,)))
    for quantity, item in values(a4c.before).items():
        assert values(unmoved)[quantity].value == item.value, quantity


def test_ends_can_be_marked_where_only_ends_are_outlined(labelled_study: LabelledStudy) -> None:
    reviewed = open_view(labelled_study, View.A4C, AnalysisOptions(contours="ed_es"))
    ed = reviewed.before.report.ed_frames[0]
    found = reviewed.clip.reanalyze(correct(reviewed, ed_frames=(ed + 3,)))
    assert ed + 3 in found.labels
    assert values(found)[Quantity.LVEF_DISCS].details["ed_frames"] == [ed + 3]


def test_walls_follow_the_points_of_a_person(plax: Reviewed) -> None:
    frame = plax.before.landmarks[0].frame
    points = {point.value: (60.0, 40.0 + 10 * index) for index, point in enumerate(WallPoint)}
    found = plax.clip.reanalyze(correct(plax, wall_points={frame: points}))
    spacing = plax.clip.header.spacing
    assert spacing is not None
    for quantity in (Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD):
        item = values(found)[quantity]
        assert item.value == pytest.approx(10 * spacing.row_mm)
        assert item.details[CORRECTED] == [f"wall_points@{frame}"]
        assert item.evidence[0].frames == (frame,)
    assert found.landmarks[0].points_xy[WallPoint.SEPTUM_LV_SIDE] == (60.0, 50.0)


def test_another_view_is_measured_as_that_view(plax: Reviewed, a4c: Reviewed) -> None:
    found = plax.clip.reanalyze(correct(plax, view=View.PSAX_MV))
    assert found.report.view is View.PSAX_MV
    assert found.report.view_probabilities[View.PSAX_MV] == 1
    assert Quantity.IVSD not in values(found)
    assert "corrected by a person: view PSAX_MV" in found.report.notes
    two_chamber = a4c.clip.reanalyze(correct(a4c, view=View.A2C))
    assert values(two_chamber)[Quantity.EDV].details[CORRECTED] == ["view"]


def test_a_clip_can_be_set_aside_and_taken_back(a4c: Reviewed, labelled_study: LabelledStudy) -> None:
    aside = a4c.clip.reanalyze(correct(a4c, set_aside=True))
    assert aside.report.set_aside == SET_ASIDE_BY_PERSON
    assert aside.report.measurements == ()
    back = a4c.clip.reanalyze(correct(a4c, set_aside=False))
    assert back.report.measurements == a4c.before.report.measurements
    assert back.signature == (), "what a person wants to be read is no copy"
    truth = labelled_study.truth.find(View.A4C)
    assert truth is not None
    clip = load_clip(open_only_clip(labelled_study.folder / truth.file))
    header = replace(clip.header, content=ContentKind.TEXT_SCREEN, content_reason="mostly text")
    screen = ClipRecomputation(labelled_study.oracle, ClipInMemory(replace(clip, header=header)))
    assert screen.automatic.report.set_aside == "a screen of text: mostly text"
    read = screen.reanalyze(ClipCorrection(clip_id=header.clip_id, set_aside=False))
    assert read.report.set_aside == ""
    assert Quantity.EDV in values(read)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_id": "another"}, "is of clip another"),
        ({"input_sha256": "0" * 64}, "is of another file"),
        ({"ed_frames": (999,)}, "frame 999 is not in the clip"),
        ({"outlined": {3: ("lv_cavity",)}}, "no uint8 label map"),
    ],
)
def test_what_does_not_suit_the_clip_is_refused(a4c: Reviewed, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ReviewError, match=message):
        a4c.clip.reanalyze(correct(a4c, **changes))


def test_a_frame_that_a_very_long_clip_left_out_is_named(labelled_study: LabelledStudy) -> None:
    reviewed = open_view(labelled_study, View.PLAX, AnalysisOptions(max_encoded_frames=20))
    with pytest.raises(ReviewError, match="left out, since the clip is very long; the nearest is"):
        reviewed.clip.reanalyze(correct(reviewed, es_frames=(1,)))


def test_a_view_named_by_a_person_opens_a_clip_whose_view_was_not_recognised(labelled_study: LabelledStudy) -> None:
    truth = labelled_study.truth.find(View.A4C)
    assert truth is not None
    unsure = PhantomOracle(view_probability=0.1).learn(labelled_study.folder, labelled_study.truth)
    clip = ClipRecomputation(unsure, open_only_clip(labelled_study.folder / truth.file))
    assert "no view was recognised" in clip.automatic.report.set_aside
    found = clip.reanalyze(ClipCorrection(clip_id=clip.header.clip_id, view=View.A4C))
    assert found.report.set_aside == ""
    assert values(found)[Quantity.EDV].details[CORRECTED] == ["view"]


def test_an_end_diastole_alone_places_the_walls(plax: Reviewed) -> None:
    last = plax.clip.header.frame_count - 1
    found = plax.clip.reanalyze(correct(plax, ed_frames=(last,), es_frames=()))
    assert found.report.ed_frames == (last,)
    assert {item.frame for item in found.landmarks} == {last - 1, last}
    backwards = plax.clip.reanalyze(correct(plax, ed_frames=(last,), es_frames=(5,)))
    assert (backwards.report.ed_frames, backwards.report.es_frames) == ((last,), (5,))
