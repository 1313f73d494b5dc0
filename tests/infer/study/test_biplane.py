"""Biplane values rest on the written evidence alone."""

from __future__ import annotations

import numpy as np
import pytest
from infer.conftest import AnalysedStudy

from echoapex.domain import Flag, StudyReport
from echoapex.infer.clip.outlines import shape_from_evidence
from echoapex.infer.study.values import measure_biplane, uncertain_planes
from echoapex.measure import single_plane_volume
from echoapex.vocabulary import Quantity, View


def test_a_volume_can_be_computed_again_from_its_evidence(analysed: AnalysedStudy) -> None:
    for clip in analysed.report.clips:
        for item in clip.measurements:
            if item.quantity is Quantity.EDV:
                volumes = [
                    single_plane_volume(shape_from_evidence(item.evidence[0], frame))
                    for frame in item.details["ed_frames"]
                ]
                assert sum(volumes) / len(volumes) == pytest.approx(item.value, rel=1e-12)


def test_biplane_volumes_are_those_of_the_written_contours_at_both_phases(analysed: AnalysedStudy) -> None:
    """Computed by hand: elliptic discs of both planes at end-diastole, and again at end-systole."""
    written = StudyReport.model_validate_json((analysed.out / "results.json").read_bytes())
    planes = {
        clip.view: next(item for item in clip.measurements if item.quantity is Quantity.EDV)
        for clip in written.clips
        if clip.view in (View.A4C, View.A2C)
    }
    by_phase = {}
    for phase in ("ed_frames", "es_frames"):
        four, two = (
            [shape_from_evidence(planes[view].evidence[0], frame) for frame in planes[view].details[phase]]
            for view in (View.A4C, View.A2C)
        )
        volumes = [
            np.pi / 4 * (a.disc_diameters @ b.disc_diameters) * max(a.length, b.length) / 20 / 1000
            for a in four
            for b in two
        ]
        by_phase[phase] = float(np.mean(volumes))
    edv, esv = by_phase["ed_frames"], by_phase["es_frames"]
    assert esv < 0.9 * edv
    again = measure_biplane(written.clips)
    assert {quantity: item.value for quantity, item in again.items()} == pytest.approx(
        {Quantity.EDV: edv, Quantity.ESV: esv, Quantity.LVEF_DISCS: 100 * (edv - esv) / edv}
    )
    for quantity in again:
        found = analysed.report.find(quantity)
        assert found is not None
        assert found.value == again[quantity].value
        assert found.method == "biplane discs"
        assert Flag.SINGLE_PLANE not in found.flags


def test_one_plane_is_not_biplane(analysed: AnalysedStudy) -> None:
    assert measure_biplane([clip for clip in analysed.report.clips if clip.view is not View.A2C]) == {}


def test_planes_of_an_uncertain_view_are_not_taken_together(analysed: AnalysedStudy) -> None:
    clips = analysed.report.clips
    assert measure_biplane(clips)
    assert uncertain_planes(clips) == ()
    doubted = [
        clip.model_copy(
            update={
                "measurements": tuple(
                    item.model_copy(update={"flags": (*item.flags, Flag.VIEW_UNCERTAIN)}) for item in clip.measurements
                )
            }
        )
        if clip.view is View.A2C
        else clip
        for clip in clips
    ]
    assert measure_biplane(doubted) == {}
    assert uncertain_planes(doubted) == (View.A2C,)
    assert uncertain_planes([clip for clip in doubted if clip.view is not View.A4C]) == ()
