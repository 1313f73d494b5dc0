"""One clip to its report: with perfect models the values are the truth's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from conftest import LabelledStudy
from infer.conftest import AnalysedStudy
from phantom_oracle import PhantomOracle

from echoapex.domain import ClipHeader, ClipReport, ContentKind, Flag, Spacing
from echoapex.infer.clip.analyze import ClipAnalysis, analyze_clip
from echoapex.infer.clip.reading import AnalysisOptions
from echoapex.io.dicom.reader import DicomSource, open_dicom
from echoapex.vocabulary import VISIBLE_STRUCTURES, Quantity, View


class Altered:
    """A clip with another header, or with something painted over its frames."""

    def __init__(self, source: DicomSource, header: ClipHeader) -> None:
        self.header = header
        self._source = source

    def frames(self) -> Iterator[np.ndarray]:
        return self._source.frames()


def open_view(study: LabelledStudy, view: View) -> DicomSource:
    clip = study.truth.find(view)
    assert clip is not None
    return open_dicom(study.folder / clip.file)


def analyse(study: LabelledStudy, source: object, **options: object) -> ClipAnalysis:
    return analyze_clip(source, "clip.dcm", study.oracle, AnalysisOptions(**options))  # type: ignore[arg-type]


def clip_of(analysed: AnalysedStudy, view: View) -> ClipReport:
    return next(clip for clip in analysed.report.clips if clip.view is view)


def values(clip: ClipReport) -> dict[Quantity, float]:
    return {item.quantity: item.value for item in clip.measurements}


def test_outlines_come_home_to_the_true_pixels(labelled_study: LabelledStudy, analysed: AnalysedStudy) -> None:
    from echoapex.metrics import dice
    from echoapex.phantom.truth import read_label_maps

    for truth in labelled_study.truth.clips:
        clip = clip_of(analysed, truth.view)
        with np.load(analysed.out / "masks" / f"{clip.clip_id}.npz") as arrays:
            assert tuple(arrays["frames"]) == tuple(range(clip.frames))
            labels = arrays["labels"][truth.ed_frame]
            assert tuple(arrays["spacing_mm"]) == pytest.approx((truth.row_mm, truth.column_mm))
        true = read_label_maps(labelled_study.folder / truth.label_file)[truth.ed_frame]
        for structure in VISIBLE_STRUCTURES[truth.view]:
            if (true == structure).sum() > 200:
                assert dice(true == structure, labels == structure) > 0.93, structure


def test_apical_values_are_those_of_the_outlines(labelled_study: LabelledStudy, analysed: AnalysedStudy) -> None:
    from echoapex.measure import measure_lv_shape, single_plane_volume
    from echoapex.phantom.truth import read_label_maps

    for view in (View.A4C, View.A2C):
        truth, clip = labelled_study.truth.find(view), clip_of(analysed, view)
        assert truth is not None
        found = values(clip)
        assert found[Quantity.LVEF] == pytest.approx(labelled_study.truth.ejection_fraction_percent)
        labels = read_label_maps(labelled_study.folder / truth.label_file)
        volumes = [
            single_plane_volume(measure_lv_shape(labels[frame] == 1, truth.spacing, labels[frame] == 3))
            for frame in (truth.ed_frame, truth.es_frame)
        ]
        assert found[Quantity.EDV] == pytest.approx(volumes[0], rel=0.1)
        assert found[Quantity.ESV] == pytest.approx(volumes[1], rel=0.12)
        assert found[Quantity.LVEF_DISCS] == pytest.approx(100 * (1 - volumes[1] / volumes[0]), abs=5)


def test_end_systole_is_found_near_the_true_one(labelled_study: LabelledStudy, analysed: AnalysedStudy) -> None:
    for view in (View.A4C, View.A2C):
        truth, clip = labelled_study.truth.find(view), clip_of(analysed, view)
        assert truth is not None
        nearest = min(abs(frame - truth.es_frame) for frame in clip.es_frames)
        assert nearest <= 4


def test_the_volume_curve_is_in_ml_and_follows_the_truth(
    labelled_study: LabelledStudy, analysed: AnalysedStudy
) -> None:
    truth, clip = labelled_study.truth.find(View.A4C), clip_of(analysed, View.A4C)
    assert truth is not None
    curve = [point.ml for point in clip.volume_curve]
    assert None not in curve
    assert np.corrcoef(np.array(curve, float), truth.volumes_ml)[0, 1] > 0.95
    assert max(point.relative for point in clip.volume_curve) == pytest.approx(1)


def test_walls_are_the_true_ones(labelled_study: LabelledStudy, analysed: AnalysedStudy) -> None:
    truth = labelled_study.truth.find(View.PLAX)
    assert truth is not None
    assert truth.walls is not None
    clip = clip_of(analysed, View.PLAX)
    for quantity in (Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD):
        found = next(item for item in clip.measurements if item.quantity is quantity)
        assert found.value == pytest.approx(truth.walls.value_mm(quantity), abs=0.1)
        assert found.evidence[0].row_mm == pytest.approx(truth.row_mm)
        assert len(found.evidence[0].points_xy) == 4 * len(found.evidence[0].frames)


def test_only_ends_of_the_beat_are_outlined_when_asked(labelled_study: LabelledStudy) -> None:
    analysis = analyse(labelled_study, open_view(labelled_study, View.A4C), contours="ed_es")
    report = analysis.report
    assert set(analysis.labels.frames) <= {*report.ed_frames, *report.es_frames}
    assert len(analysis.labels) >= 2
    found = values(report)
    assert found[Quantity.LVEF_DISCS] > 0
    assert found[Quantity.EDV] > found[Quantity.ESV]


def test_without_calibration_there_is_no_millilitre(labelled_study: LabelledStudy) -> None:
    source = open_view(labelled_study, View.A4C)
    header = replace(source.header, spacing=None, spacing_reason="no region")
    report = analyse(labelled_study, Altered(source, header)).report
    assert not {Quantity.EDV, Quantity.ESV} & set(values(report))
    assert Quantity.LVEF_DISCS in values(report)
    assert all(point.ml is None for point in report.volume_curve)
    assert any("no volumes in mL: no region" in note for note in report.notes)


def test_without_calibration_there_is_no_wall_thickness(labelled_study: LabelledStudy) -> None:
    source = open_view(labelled_study, View.PLAX)
    header = replace(source.header, spacing=None, spacing_reason="no region")
    analysis = analyse(labelled_study, Altered(source, header))
    assert not {Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD} & set(values(analysis.report))
    assert analysis.landmarks


def test_other_content_is_set_aside_with_its_reason(labelled_study: LabelledStudy) -> None:
    source = open_view(labelled_study, View.A4C)
    header = replace(source.header, content=ContentKind.M_MODE, content_reason="the header has an M-mode region")
    report = analyse(labelled_study, Altered(source, header)).report
    assert report.set_aside == "an M-mode image: the header has an M-mode region"
    assert report.view is None
    assert not report.measurements


def test_nothing_is_measured_in_what_no_view_is_seen(labelled_study: LabelledStudy) -> None:
    source = open_view(labelled_study, View.A4C)
    report = analyze_clip(source, "clip.dcm", PhantomOracle(), AnalysisOptions()).report
    assert report.set_aside.startswith("no view was recognised")
    assert not report.measurements


def test_an_uncertain_view_flags_every_value(labelled_study: LabelledStudy) -> None:
    unsure = PhantomOracle(view_probability=0.45).learn(labelled_study.folder, labelled_study.truth)
    source = open_view(labelled_study, View.A4C)
    report = analyze_clip(source, "clip.dcm", unsure, AnalysisOptions()).report
    assert report.measurements
    assert all(Flag.VIEW_UNCERTAIN in item.flags for item in report.measurements)


def test_an_assumed_frame_rate_is_flagged(labelled_study: LabelledStudy) -> None:
    source = open_view(labelled_study, View.A4C)
    header = replace(source.header, frame_times_known=False)
    report = analyse(labelled_study, Altered(source, header)).report
    assert report.frame_rate_hz is None
    assert all(Flag.ASSUMED_FRAME_RATE in item.flags for item in report.measurements)


def test_under_colour_nothing_is_labelled_and_no_wall_is_measured(labelled_study: LabelledStudy) -> None:
    source = open_view(labelled_study, View.PLAX)
    height, width = source.header.size
    box = (0.25 * width, 0.2 * height, 0.75 * width, 0.7 * height)
    header = replace(source.header, content=ContentKind.COLOUR_DOPPLER, colour_box_xyxy=box)
    analysis = analyse(labelled_study, Altered(source, header))
    x0, y0, x1, y1 = (round(edge) for edge in box)
    for frame in analysis.labels:
        assert not analysis.labels[frame][y0:y1, x0:x1].any()
    assert not any(item.quantity is Quantity.IVSD for item in analysis.report.measurements)
    assert any(note.startswith("not measured: ivsd") for note in analysis.report.notes)


def test_a_wall_beside_the_colour_is_measured_and_flagged(labelled_study: LabelledStudy) -> None:
    source = open_view(labelled_study, View.PLAX)
    points = [item.points_xy for item in analyse(labelled_study, source).landmarks]
    septum = np.array([list(item.values())[:2] for item in points]).reshape(-1, 2)
    (x0, y0), (x1, y1) = septum.min(axis=0) - 2, septum.max(axis=0) + 2
    header = replace(
        source.header, content=ContentKind.COLOUR_DOPPLER, colour_box_xyxy=(float(x0), float(y0), float(x1), float(y1))
    )
    report = analyse(labelled_study, Altered(source, header)).report
    walls = {item.quantity: item.flags for item in report.measurements}
    assert Quantity.IVSD not in walls
    assert Quantity.LVIDD not in walls
    assert Flag.UNDER_COLOUR in walls[Quantity.LVPWD]


def test_a_colour_clip_of_the_apex_has_a_view_and_no_volumes(labelled_study: LabelledStudy) -> None:
    source = open_view(labelled_study, View.A4C)
    header = replace(source.header, content=ContentKind.COLOUR_DOPPLER, colour_box_xyxy=(40, 60, 90, 120))
    report = analyse(labelled_study, Altered(source, header)).report
    assert report.view is View.A4C
    assert not report.measurements


def test_a_value_of_a_clip_outside_its_range_is_flagged(labelled_study: LabelledStudy) -> None:
    """A calibration ten times too coarse gives walls and volumes that no heart has."""
    for view, quantity in ((View.PLAX, Quantity.LVIDD), (View.A4C, Quantity.EDV)):
        source = open_view(labelled_study, view)
        assert source.header.spacing is not None
        coarse = Spacing(10 * source.header.spacing.row_mm, 10 * source.header.spacing.column_mm)
        report = analyse(labelled_study, Altered(source, replace(source.header, spacing=coarse))).report
        item = next(item for item in report.measurements if item.quantity is quantity)
        assert Flag.OUT_OF_RANGE in item.flags
        fraction = [item for item in report.measurements if item.quantity is Quantity.LVEF]
        assert all(Flag.OUT_OF_RANGE not in item.flags for item in fraction)


def test_what_a_set_has_learned_to_be_no_echo_is_set_aside_and_not_shown(labelled_study: LabelledStudy) -> None:
    class Doubter:
        """The oracle, and a doubt about every clip."""

        def __getattr__(self, name: str) -> object:
            return getattr(labelled_study.oracle, name)

        def doubts_echo(self, _encoded: object) -> bool:
            return True

    source = open_view(labelled_study, View.A4C)

    found = analyze_clip(source, "clip.dcm", Doubter(), AnalysisOptions())  # type: ignore[arg-type]

    assert "unlike the echocardiograms" in found.report.set_aside
    assert found.sector is None
    assert not found.report.measurements
