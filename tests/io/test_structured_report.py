"""The DICOM reports of a study: valid, complete, each value with its unit and the frames that it was measured on."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from dicom_results import DicomResults, dicom_errors
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage
from real_files import real_dicom

from echoapex.domain import RV_ANTERIOR_BORDER, ClipReport, Evidence, Measurement, StudyReport, WallPoint
from echoapex.io.dicom.derived_object import Software, new_uid
from echoapex.io.dicom.source_instance import SourceInstance, identity_dataset, read_source_instance
from echoapex.io.procedure_report import write_procedure_report
from echoapex.io.report_values import select_values
from echoapex.io.segmentation_object import write_segmentation
from echoapex.io.structured_report import (
    SIMPLIFIED_ADULT_ECHO_SR,
    build_echo_report,
    write_echo_report,
    write_measurement_report,
)
from echoapex.vocabulary import Quantity, View
from echoapex.vocabulary.codes import OWN_SCHEME
from echoapex.vocabulary.echo_coding import PATIENT_CODES, code_measurement

OF_SOME_STUDIES = {
    Quantity.STROKE_VOLUME,
    Quantity.STROKE_VOLUME_INDEX,
    Quantity.CARDIAC_OUTPUT,
    Quantity.CARDIAC_INDEX,
    Quantity.LA_DIAMETER,
    Quantity.SPHERICITY_INDEX,
    Quantity.RVIDD,
}
"""What this study may lack: its outlines decide."""
"""What the oracle measures in the phantom study: everything."""


def items(item: Dataset, value_type: str) -> Iterator[Dataset]:
    """All content items of a type below an item."""
    for child in item.get("ContentSequence", ()):
        if child.ValueType == value_type:
            yield child
        yield from items(child, value_type)


def name_of(item: Dataset) -> tuple[str, str]:
    code = item.ConceptNameCodeSequence[0]
    return code.CodeValue, code.CodingSchemeDesignator


def number_of(item: Dataset) -> tuple[float, str]:
    measured = item.MeasuredValueSequence[0]
    return float(measured.NumericValue), measured.MeasurementUnitsCodeSequence[0].CodeValue


def find(report: Dataset, measurement: Measurement, *, biplane: bool = False, view: View | None = None) -> Dataset:
    """The item of a value of the study, the first of its code."""
    coding = code_measurement(measurement.quantity, biplane=biplane, view=view)
    name = coding.name if coding else PATIENT_CODES[measurement.quantity]
    return next(item for item in items(report, "NUM") if name_of(item) == (name.value, name.scheme))


def references(item: Dataset) -> list[tuple[str, list[int]]]:
    """Images and frame numbers that a value refers to."""
    found = []
    for image in items(item, "IMAGE"):
        reference = image.ReferencedSOPSequence[0]
        frames = reference.get("ReferencedFrameNumber", [])
        found.append((str(reference.ReferencedSOPInstanceUID), list(np.atleast_1d(frames).astype(int))))
    return found


@pytest.fixture(params=["echo_report", "measurement_report"])
def written(request: pytest.FixtureRequest, dicom_results: DicomResults) -> Dataset:
    return dcmread(getattr(dicom_results, request.param))


def instances(results: DicomResults) -> dict[str, SourceInstance]:
    """The sources by sha256 of their files."""
    found = {}
    for path in results.sources.glob("*.dcm"):
        found[hashlib.sha256(path.read_bytes()).hexdigest()] = read_source_instance(path, path.name)
    return found


def test_the_measurement_report_is_valid(dicom_results: DicomResults) -> None:
    assert dicom_errors(dicom_results.measurement_report) == []


def test_the_echo_report_is_valid(dicom_results: DicomResults, tmp_path: Path) -> None:
    """Dciodvfy does not know this object; its content follows the rules of a Comprehensive SR, which it knows."""
    unknown = ["Error - Information Object Not found"]
    assert dicom_errors(dicom_results.echo_report) in ([], unknown)
    report = dcmread(dicom_results.echo_report)
    assert report.SOPClassUID == report.file_meta.MediaStorageSOPClassUID == SIMPLIFIED_ADULT_ECHO_SR
    assert SIMPLIFIED_ADULT_ECHO_SR.name == "Simplified Adult Echo SR Storage"
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = ComprehensiveSRStorage
    report.save_as(tmp_path / "comprehensive.dcm")
    assert dicom_errors(tmp_path / "comprehensive.dcm") == []


def test_every_value_is_there_with_its_unit_and_its_frames(written: Dataset, dicom_results: DicomResults) -> None:
    report, sources = dicom_results.report, instances(dicom_results)
    assert {item.quantity for item in report.measurements} >= set(Quantity) - OF_SOME_STUDIES
    for measurement in report.measurements:
        item = find(written, measurement, biplane=True)
        assert number_of(item) == (pytest.approx(measurement.value, rel=1e-5), measurement.unit)
        known: dict[str, set[int]] = {}
        for evidence in measurement.evidence:
            uid = sources[evidence.input_sha256].sop_instance_uid
            known.setdefault(uid, set()).update(frame + 1 for frame in evidence.frames)
        referred = references(item)
        assert {uid for uid, _ in referred} == set(known), measurement.quantity
        assert all(set(frames) <= known[uid] for uid, frames in referred)


def test_a_biplane_volume_goes_with_the_volumes_of_both_planes(written: Dataset, dicom_results: DicomResults) -> None:
    for clip in dicom_results.report.clips:
        for measurement in clip.measurements:
            if measurement.quantity in (Quantity.EDV, Quantity.ESV, Quantity.LVEF_DISCS):
                item = find(written, measurement, view=clip.view)
                assert number_of(item) == (pytest.approx(measurement.value, rel=1e-5), measurement.unit)
                assert len(references(item)) >= 1


def test_contours_are_those_of_the_evidence_in_dicom_coordinates(written: Dataset, dicom_results: DicomResults) -> None:
    volume = dicom_results.report.find(Quantity.EDV)
    assert volume is not None
    lines = {}
    for line in items(find(written, volume, biplane=True), "SCOORD"):
        assert line.GraphicType == "POLYLINE"
        ((uid, (frame,)),) = references(line)
        lines[uid, frame] = np.array(line.GraphicData).reshape(-1, 2)
    sources = instances(dicom_results)
    ends = {evidence.clip_id: volume.details["frames"][evidence.clip_id]["ed_frames"] for evidence in volume.evidence}
    expected = {
        (sources[evidence.input_sha256].sop_instance_uid, frame + 1): evidence.contours_xy[f"lv_cavity@{frame}"]
        for evidence in volume.evidence
        for frame in ends[evidence.clip_id]
    }
    assert set(lines) == set(expected), "end-diastole only"
    for place, contour in expected.items():
        np.testing.assert_allclose(lines[place][:-1], np.array(contour) + 0.5, atol=1e-3)
        np.testing.assert_array_equal(lines[place][0], lines[place][-1])


def test_caliper_lines_are_as_long_as_the_value_says(written: Dataset, dicom_results: DicomResults) -> None:
    for quantity in (Quantity.IVSD, Quantity.LVIDD, Quantity.LVPWD):
        wall = dicom_results.report.find(quantity)
        assert wall is not None
        row_mm, column_mm = wall.evidence[0].row_mm, wall.evidence[0].column_mm
        lengths = []
        for line in items(find(written, wall), "SCOORD"):
            (x0, y0), (x1, y1) = np.array(line.GraphicData).reshape(2, 2)
            lengths.append(float(np.hypot((x1 - x0) * column_mm, (y1 - y0) * row_mm)))
        assert len(lengths) == len(wall.evidence[0].frames)
        assert np.median(lengths) == pytest.approx(wall.value, rel=0.02)


def test_the_rv_diameter_is_a_caliper_from_the_septum_to_the_anterior_border(
    dicom_results: DicomResults, tmp_path: Path
) -> None:
    """The sector of this study cuts the RV off, so the value is put beside the others."""
    septum = dicom_results.report.find(Quantity.IVSD)
    assert septum is not None
    walls = septum.evidence[0]
    borders = {}
    for frame in walls.frames:
        x, y = walls.points_xy[f"{WallPoint.SEPTUM_RV_SIDE}@{frame}"]
        borders[f"{RV_ANTERIOR_BORDER}@{frame}"] = (x, y - 12.0)
    evidence = walls.model_copy(update={"points_xy": {**walls.points_xy, **borders}})
    number = 12.0 * (walls.row_mm or 0)
    item = Measurement(quantity=Quantity.RVIDD, value=number, method="m", evidence=(evidence,))
    report = dicom_results.report.model_copy(update={"measurements": (*dicom_results.report.measurements, item)})
    digests = instances(dicom_results)
    sources = {clip.clip_id: digests[clip.input_sha256] for clip in report.clips}
    (study,) = select_values(report, sources).values()
    software = Software("0", "b", {"encoder": "0" * 64}, "no medical device")
    found = find(build_echo_report(study, software, new_uid()), item)
    assert number_of(found) == (pytest.approx(number, rel=1e-5), "mm")
    lines = [np.array(line.GraphicData).reshape(2, 2) for line in items(found, "SCOORD")]
    assert len(lines) == len(walls.frames)
    for (x0, y0), (x1, y1) in lines:
        assert (x1 - x0, y1 - y0) == pytest.approx((0.0, -12.0), abs=1e-3)
    path = write_procedure_report(tmp_path / "procedure.dcm", study, software, new_uid())
    assert dicom_errors(path) == []
    coded = [one for one in items(dcmread(path), "NUM") if name_of(one) == ("20304-2", "LN")]
    assert [number_of(one) for one in coded] == [(pytest.approx(number, rel=1e-5), "mm")]


def test_only_values_with_a_standard_code_are_pre_coordinated(dicom_results: DicomResults) -> None:
    report = dcmread(dicom_results.echo_report)
    containers = {name_of(item)[0]: item for item in items(report, "CONTAINER")}
    schemes = {
        title: {name_of(item)[1] for item in container.ContentSequence} for title, container in containers.items()
    }
    assert schemes == {"125301": {"LN"}, "125302": {OWN_SCHEME}, "121118": {"LN"}}
    allowed = {"121401", "125309", "121112"}  # derivation, label, source: TID 5301 permits no other modifier
    for item in containers["125301"].ContentSequence:
        assert {name_of(child)[0] for child in item.ContentSequence} <= allowed
    needed = {"125306", "363698007", "125305", "125307", "399264008", "272518008", "125309"}
    for item in containers["125302"].ContentSequence:
        assert {name_of(child)[0] for child in item.ContentSequence} >= needed
    assert report.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == OWN_SCHEME


def test_a_report_says_who_made_it_and_that_nobody_checked_it(written: Dataset, dicom_results: DicomResults) -> None:
    assert (written.CompletionFlag, written.VerificationFlag) == ("PARTIAL", "UNVERIFIED")
    source = dcmread(dicom_results.sources / "A4C.dcm")
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "StudyDate", "AccessionNumber"):
        assert written[keyword].value == source[keyword].value
    assert written.Manufacturer == "EchoApex"
    texts = [str(item.TextValue) for item in items(written, "TEXT")]
    digests = dicom_results.report.bundles
    assert all(f"{name} sha256 {digest}" in texts for name, digest in digests.items())
    software = Software("0", "b", digests, "")
    assert software.weights_digest in texts
    for flag in {flag for item in dicom_results.report.measurements for flag in item.flags}:
        assert any(flag.value.replace("_", " ") in text for text in texts)


def test_the_echo_report_says_that_it_is_no_medical_device(dicom_results: DicomResults) -> None:
    texts = [str(item.TextValue) for item in items(dcmread(dicom_results.echo_report), "TEXT")]
    assert dicom_results.report.disclaimer in texts


def test_highdicom_reads_the_measurement_report_back(dicom_results: DicomResults) -> None:
    report = hd.sr.srread(dicom_results.measurement_report)
    groups = report.content.get_image_measurement_groups()
    values = {group.get_measurements()[0].name.value: group.get_measurements()[0].value for group in groups}
    volume = dicom_results.report.find(Quantity.EDV)
    assert volume is not None
    assert values["79996-5"] == pytest.approx(volume.value, rel=1e-5)


def test_what_ohif_reads_of_the_measurement_report(dicom_results: DicomResults) -> None:
    """OHIF draws the region of a group, on one frame, if the group has a tracking identifier and UID; else it fails."""
    report = dcmread(dicom_results.measurement_report)
    assert name_of(report) == ("126000", "DCM")
    (template,) = report.ContentTemplateSequence
    assert (template.TemplateIdentifier, template.MappingResource) == ("1500", "DCMR")
    content = {name_of(item)[0]: item for item in report.ContentSequence}
    (library,) = (item for item in content["111028"].ContentSequence if name_of(item)[0] == "126200")
    sources = {source.sop_instance_uid: source for source in instances(dicom_results).values()}
    assert {uid for uid, _ in references(library)} == set(sources)
    uids, regions = [], []
    for group in content["126010"].ContentSequence:
        assert name_of(group)[0] == "125007"
        parts = {name_of(item)[0]: item for item in group.ContentSequence}
        assert parts["112039"].TextValue
        uids.append(parts["112040"].UID)
        drawn = [item for item in group.ContentSequence if item.ValueType == "SCOORD"]
        assert len(drawn) <= 1, "OHIF looks at the first only"
        for region in drawn:
            assert name_of(region)[0] == "111030"
            assert region.GraphicType == "POLYLINE"
            ((uid, (frame,)),) = references(region)
            points = np.array(region.GraphicData).reshape(-1, 2)
            height, width = sources[uid].size
            assert (points >= 0).all() and (points <= (width, height)).all()
            assert parts["363698007"].ConceptCodeSequence[0].CodeMeaning
            regions.append((uid, frame, points.tobytes()))
    assert len(set(uids)) == len(uids)
    of_values = set()
    for item in items(report, "NUM"):
        for line in items(item, "SCOORD"):
            ((uid, (frame,)),) = references(line)
            of_values.add((uid, frame, np.array(line.GraphicData).reshape(-1, 2).tobytes()))
    assert len(regions) == len(set(regions)), "a line that several values share is one region"
    assert set(regions) == of_values


def test_the_timezone_is_that_of_the_images_or_of_this_machine() -> None:
    report = study(value(Quantity.LVEF, "a"), clips=(clip("a"),))
    plain = instance("1.4")
    stated = replace(plain, elements={**plain.elements, "TimezoneOffsetFromUTC": "+0545"})
    for source, expected in ((stated, "+0545"), (plain, datetime.now().astimezone().strftime("%z"))):
        (found,) = select_values(report, {"a": source}).values()
        assert build_echo_report(found, Software("1", "b", {}, "d"), "1.7").TimezoneOffsetFromUTC == expected


def test_no_other_file_holds_an_identifier(dicom_results: DicomResults) -> None:
    source = dcmread(dicom_results.sources / "A4C.dcm")
    secrets = [str(source[name].value).encode() for name in ("PatientID", "PatientName", "StudyInstanceUID")]
    secrets.append(str(source.SOPInstanceUID).encode())
    folder = dicom_results.echo_report.parent
    others = [path for path in dicom_results.out.rglob("*") if path.is_file() and path.parent != folder]
    assert len(others) > 10
    for path in others:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret in content], path
    listed = json.loads((dicom_results.out / "manifest.json").read_text())["files"]
    assert {f"dicom/{path.name}" for path in folder.iterdir()} <= set(listed)


def instance(uid: str, frames: int = 10, study: str = "1.2") -> SourceInstance:
    elements = {
        "StudyInstanceUID": study,
        "SeriesInstanceUID": "1.3",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.3.1",
        "SOPInstanceUID": uid,
    }
    names = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID")
    names += ("AccessionNumber", "ReferringPhysicianName", "Modality")
    return SourceInstance({**dict.fromkeys(names, ""), **elements}, (100, 120), frames)


def value(quantity: Quantity, *clips: str, **details: object) -> Measurement:
    evidence = tuple(Evidence(clip_id=clip, frames=(3,), row_mm=0.5, column_mm=0.5) for clip in clips)
    return Measurement(quantity=quantity, value=50.0, method="m", evidence=evidence, details=details)


def clip(name: str, *measurements: Measurement, view: View = View.A4C) -> ClipReport:
    about = {"clip_id": name, "file": name, "frames": 10, "size": (100, 120), "content": "b_mode"}
    return ClipReport(**about, view=view, measurements=measurements)


def study(*values: Measurement, clips: tuple[ClipReport, ...]) -> StudyReport:
    return StudyReport(echoapex_version="1", clips=clips, measurements=values)


def test_a_value_with_evidence_outside_of_the_study_is_left_out_and_counted() -> None:
    clips = (clip("dicom"), clip("video"))
    report = study(value(Quantity.LVEF, "dicom", "video"), value(Quantity.HEART_RATE, "dicom"), clips=clips)
    (found,) = select_values(report, {"dicom": instance("1.4")}).values()
    assert [item.measurement.quantity for item in found.values] == [Quantity.HEART_RATE]
    assert found.left_out == 1


def test_a_frame_that_the_header_does_not_count_is_not_referenced() -> None:
    report = study(value(Quantity.LVEF, "a"), clips=(clip("a"),))
    (found,) = select_values(report, {"a": instance("1.4", frames=3)}).values()
    assert (found.values, found.left_out) == ((), 1)


def test_each_study_has_its_own_report() -> None:
    clips = (clip("a"), clip("b"))
    report = study(value(Quantity.LVEF, "a"), value(Quantity.LVEF, "b"), clips=clips)
    sources = {"a": instance("1.4"), "b": instance("1.5", study="1.9")}
    found = select_values(report, sources)
    assert {uid: len(values.values) for uid, values in found.items()} == {"1.2": 1, "1.9": 1}


def test_a_mean_over_both_planes_has_no_standard_code() -> None:
    clips = (clip("a"), clip("b", view=View.A2C))
    report = study(value(Quantity.EDV, "a", "b"), clips=clips)
    (found,) = select_values(report, {"a": instance("1.4"), "b": instance("1.5")}).values()
    assert found.values[0].coding is not None
    assert found.values[0].coding.name.scheme == OWN_SCHEME


def test_a_still_is_referenced_without_a_frame_number() -> None:
    still = clip("a").model_copy(update={"frames": 1})
    evidence = (Evidence(clip_id="a", frames=(0,)),)
    ejection = Measurement(quantity=Quantity.LVEF, value=50.0, method="m", evidence=evidence)
    (found,) = select_values(study(ejection, clips=(still,)), {"a": instance("1.4", frames=1)}).values()
    report = build_echo_report(found, Software("1", "b", {}, "d"), "1.7")
    assert references(find(report, ejection)) == [("1.4", [])]


REAL = (
    *("examples_ybr_color.dcm", "color3d_jpeg_baseline.dcm", "ultrasound-multiframe.dcm"),
    *("GREYSCALE_IMAGE.dcm", "RGB_IMAGE.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm"),
)


@pytest.mark.parametrize("name", REAL)
def test_objects_about_real_images_are_valid(name: str, tmp_path: Path) -> None:
    """Real headers have gaps and errors: an accession number of two values, a patient without a birth date."""
    source = read_source_instance(real_dicom(name), "clip")
    ejection = value(Quantity.LVEF, "a").model_copy(update={"evidence": (Evidence(clip_id="a", frames=(0,)),)})
    (found,) = select_values(study(ejection, clips=(clip("a"),)), {"a": source}).values()
    software = Software("1", "b", {"encoder": "0" * 64}, "d")
    report = write_measurement_report(tmp_path / "sr.dcm", found, software, new_uid())
    assert dicom_errors(report) == []
    masks = {0: np.ones(source.size, np.uint8)}
    assert dicom_errors(write_segmentation(tmp_path / "seg.dcm", masks, source, software, new_uid())) == []
    assert number_of(find(dcmread(write_echo_report(tmp_path / "e.dcm", found, software, "1.7")), ejection)) == (
        50,
        "%",
    )


def test_no_warning_quotes_what_the_source_says(dicom_results: DicomResults, tmp_path: Path) -> None:
    dataset = dcmread(dicom_results.sources / "PLAX.dcm")
    with pytest.warns(UserWarning, match="exceeds"):
        dataset.PatientID = "1" * 70
    dataset.save_as(tmp_path / "clip.dcm")
    ejection = value(Quantity.LVEF, "a")
    (found,) = select_values(
        study(ejection, clips=(clip("a"),)), {"a": read_source_instance(tmp_path / "clip.dcm", "clip")}
    ).values()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_echo_report(tmp_path / "sr.dcm", found, Software("1", "b", {}, "d"), "1.7")


def test_names_in_another_character_set_arrive_as_they_are(dicom_results: DicomResults, tmp_path: Path) -> None:
    dataset = dcmread(dicom_results.sources / "A4C.dcm")
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = "Müller^Jürgen"
    dataset.PatientSex = "X"
    dataset.save_as(tmp_path / "latin.dcm")
    read = identity_dataset(read_source_instance(tmp_path / "latin.dcm", "clip"))
    assert str(read.PatientName) == "Müller^Jürgen"
    assert read.SpecificCharacterSet == "ISO_IR 192"
    assert read.PatientSex == "", "a sex that DICOM does not allow is not passed on"
