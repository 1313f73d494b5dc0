"""Values of two planes beside LV volumes, and what is derived from values of the study."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from infer.conftest import AnalysedStudy

from echoapex.domain import ClipReport, Evidence, Flag, Measurement
from echoapex.infer.clip.outlines import atrial_shape_from_evidence
from echoapex.infer.study.records import ClipRecord, PatientData
from echoapex.infer.study.values import measure_left_atrium, measure_lv_length, measure_mean_strain, measure_studies
from echoapex.vocabulary import Quantity, Structure, View


def clip(view: View, values: dict[Quantity, float], *flags: Flag) -> ClipReport:
    evidence = (Evidence(clip_id=view.value, row_mm=0.3, column_mm=0.3, input_sha256="0" * 64),)
    details = {"beat_frames": [[3, 9]], "ed_frames": [3], "es_frames": [9]}
    measurements = tuple(
        Measurement(
            quantity=quantity,
            value=value,
            method="test",
            flags=flags,
            evidence=evidence,
            details=details,
            confidence=0.9,
        )
        for quantity, value in values.items()
    )
    return ClipReport(
        clip_id=view.value, file="a", frames=20, size=(8, 8), content="b_mode", view=view, measurements=measurements
    )


def study(*clips: ClipReport, patient: PatientData | None = None) -> dict[Quantity, Measurement]:
    patient = patient or PatientData()
    records = [ClipRecord(run_key="k", study="s", patient=patient, report=each) for each in clips]
    return {item.quantity: item for item in measure_studies(records).measurements}


def test_strain_is_the_mean_of_both_planes_and_no_single_plane_any_more() -> None:
    clips = [
        clip(View.A4C, {Quantity.GLS_ENDOCARDIAL: -18.0}, Flag.SINGLE_PLANE),
        clip(View.A2C, {Quantity.GLS_ENDOCARDIAL: -20.0}, Flag.SINGLE_PLANE),
    ]
    found = measure_mean_strain(clips)[Quantity.GLS_ENDOCARDIAL]
    assert found.value == -19.0
    assert found.flags == ()
    assert found.details["plane_values"] == {"A4C": -18.0, "A2C": -20.0}
    assert study(*clips)[Quantity.GLS_ENDOCARDIAL] == found
    assert study(clips[0])[Quantity.GLS_ENDOCARDIAL].flags == (Flag.SINGLE_PLANE,)


def test_the_longer_plane_is_the_length_of_the_ventricle() -> None:
    clips = [clip(View.A4C, {Quantity.LV_LENGTH: 80.0}), clip(View.A2C, {Quantity.LV_LENGTH: 90.0})]
    found = measure_lv_length(clips)[Quantity.LV_LENGTH]
    assert found.value == 90.0
    assert found.flags == (Flag.PLANES_DISAGREE,)
    clips[0] = clip(View.A4C, {Quantity.LV_LENGTH: 82.0})
    assert measure_lv_length(clips)[Quantity.LV_LENGTH].flags == ()


def test_an_uncertain_view_is_no_plane() -> None:
    values = {Quantity.GLS_ENDOCARDIAL: -18.0, Quantity.LV_LENGTH: 80.0, Quantity.LA_VOLUME: 50.0}
    clips = [clip(View.A4C, values), clip(View.A2C, values, Flag.VIEW_UNCERTAIN)]
    for measure in (measure_mean_strain, measure_lv_length, measure_left_atrium):
        assert measure(clips) == {}
        assert measure(clips[:1]) == {}


def test_left_atrial_volume_is_that_of_the_written_contours_of_both_planes(analysed: AnalysedStudy) -> None:
    """Computed by hand: elliptic discs at end-systole with the longer axis, and area-length with the shorter."""
    planes = [
        next(item for item in each.measurements if item.quantity is Quantity.LA_VOLUME)
        for view in (View.A4C, View.A2C)
        for each in analysed.report.clips
        if each.view is view
    ]
    shapes = [
        [atrial_shape_from_evidence(p.evidence[0], Structure.LEFT_ATRIUM, f) for (f,) in p.details["beat_frames"]]
        for p in planes
    ]
    pairs = list(product(*shapes))
    discs = [np.pi / 4 * (a.disc_diameters @ b.disc_diameters) * max(a.length, b.length) / 20 / 1000 for a, b in pairs]
    by_area = [8 / (3 * np.pi) * a.area * b.area / min(a.length, b.length) / 1000 for a, b in pairs]
    found = measure_left_atrium(analysed.report.clips)
    assert found[Quantity.LA_VOLUME].value == pytest.approx(float(np.mean(discs)))
    assert found[Quantity.LA_VOLUME_AREA_LENGTH].value == pytest.approx(float(np.mean(by_area)))
    assert analysed.report.find(Quantity.LA_VOLUME) is not None
    index = analysed.report.find(Quantity.LA_VOLUME_INDEX)
    assert index is not None
    assert "la_volume" in index.evidence[0].derived_from


def test_output_follows_from_volumes_rate_and_body_size() -> None:
    values = {Quantity.EDV: 120.0, Quantity.ESV: 50.0, Quantity.HEART_RATE: 60.0}
    found = study(clip(View.A4C, values), patient=PatientData(sex="F", height_m=1.8, weight_kg=80.0))
    wanted = {
        Quantity.STROKE_VOLUME: 70.0,
        Quantity.STROKE_VOLUME_INDEX: 35.0,
        Quantity.CARDIAC_OUTPUT: 4.2,
        Quantity.CARDIAC_INDEX: 2.1,
    }
    assert {quantity: found[quantity].value for quantity in wanted} == pytest.approx(wanted)
    assert found[Quantity.STROKE_VOLUME].evidence[0].derived_from == ("edv", "esv")


def test_no_rate_no_output_and_no_stroke_volume_of_what_was_not_imaged() -> None:
    volumes = {Quantity.EDV: 120.0, Quantity.ESV: 50.0}
    without_rate = study(clip(View.A4C, volumes))
    assert Quantity.STROKE_VOLUME in without_rate
    assert Quantity.CARDIAC_OUTPUT not in without_rate
    assert Quantity.STROKE_VOLUME_INDEX not in without_rate, "the body size is not known"
    cut_off = study(clip(View.A4C, volumes | {Quantity.HEART_RATE: 60.0}, Flag.STRUCTURE_CUT_OFF))
    assert not {Quantity.STROKE_VOLUME, Quantity.CARDIAC_OUTPUT} & set(cut_off)
    assert Quantity.STROKE_VOLUME not in study(clip(View.A4C, {Quantity.EDV: 50.0, Quantity.ESV: 50.0}))
