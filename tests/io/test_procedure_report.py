"""The report for older receivers (TID 5200), read with nothing but pydicom: sections, values, units, frames."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dicom_results import DicomResults, dicom_errors, report_faults
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage

from echoapex.domain import Measurement
from echoapex.vocabulary import Quantity

SECTION_OF = {
    **dict.fromkeys(("18043-0", "18026-5", "18148-7", "18154-5", "29436-3", "18152-9", "18087-7"), "Left ventricle"),
    **dict.fromkeys(("18077-8", "90096001", "277381004", "82799009", "54993008"), "Left ventricle"),
    **dict.fromkeys(("79997-3", "80002-9", "80020-1"), "Left ventricle"),
    **dict.fromkeys(("399235004", "29469-4", "79984-1"), "Left atrium"),
    **dict.fromkeys(("80081-3", "80082-1", "79936-1"), "Right ventricle"),
}
NO_CODE = {
    *(Quantity.RWT, Quantity.SPHERICITY_INDEX, Quantity.GLS_ENDOCARDIAL),
    *(Quantity.RA_VOLUME, Quantity.RA_VOLUME_INDEX),
}


def children(item: Dataset, value_type: str) -> list[Dataset]:
    return [child for child in item.get("ContentSequence", ()) if child.ValueType == value_type]


def concept(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def modifiers(item: Dataset) -> dict[str, str]:
    """What is said about an item, by the code of the concept."""
    return {
        concept(child): str(child.ConceptCodeSequence[0].CodeMeaning)
        for child in children(item, "CODE")
        if child.RelationshipType == "HAS CONCEPT MOD"
    }


@pytest.fixture(scope="module")
def report(dicom_results: DicomResults) -> Dataset:
    return dcmread(dicom_results.procedure_report)


def findings(report: Dataset) -> Iterator[tuple[str, Dataset]]:
    """Each value with the structure of its section."""
    for section in children(report, "CONTAINER"):
        if concept(section) != "121070":
            continue
        site = modifiers(section)["363698007"]
        for group in children(section, "CONTAINER"):
            assert concept(group) == "125007"
            assert modifiers(group) == {"399264008": "2D mode"}
            for item in children(group, "NUM"):
                yield site, item


def quantity_and_unit(item: Dataset) -> tuple[float, str]:
    measured = item.MeasuredValueSequence[0]
    return float(measured.NumericValue), str(measured.MeasurementUnitsCodeSequence[0].CodeValue)


def test_validators_find_no_error(dicom_results: DicomResults) -> None:
    assert dicom_errors(dicom_results.procedure_report) == []
    assert report_faults(dicom_results.procedure_report) == []


def test_it_is_a_comprehensive_report_by_template_5200(report: Dataset) -> None:
    assert report.SOPClassUID == report.file_meta.MediaStorageSOPClassUID == ComprehensiveSRStorage
    (template,) = report.ContentTemplateSequence
    assert (template.TemplateIdentifier, template.MappingResource) == ("5200", "DCMR")
    assert concept(report) == "125200"
    assert (report.CompletionFlag, report.VerificationFlag) == ("PARTIAL", "UNVERIFIED")


def test_findings_stand_under_their_structure(report: Dataset) -> None:
    found = [(site, concept(item)) for site, item in findings(report)]
    assert {code: site for site, code in found} == {code: SECTION_OF[code] for _, code in found}
    assert {site for site, _ in found} == {"Left ventricle", "Left atrium", "Right ventricle"}
    sites = [site for site, _ in found]
    assert sites == sorted(sites, key=["Left ventricle", "Left atrium", "Right ventricle"].index)


def test_every_value_is_the_one_of_results_json_with_its_unit(report: Dataset, dicom_results: DicomResults) -> None:
    written = sorted(quantity_and_unit(item) for _, item in findings(report))
    of_study = [item for item in dicom_results.report.measurements if item.quantity not in NO_CODE]
    about_patient = {Quantity.BSA, Quantity.HEART_RATE}
    for measurement in of_study:
        if measurement.quantity not in about_patient:
            assert is_among(measurement, written), measurement.quantity
    of_clips = [item for clip in dicom_results.report.clips for item in clip.measurements]
    everything = [*of_study, *of_clips]
    for value, unit in written:
        same = [one for one in everything if one.unit == unit and one.value == pytest.approx(value, rel=1e-5)]
        assert same, f"{value} {unit} is in no result"


def is_among(measurement: Measurement, written: list[tuple[float, str]]) -> bool:
    return any(
        unit == measurement.unit and value == pytest.approx(measurement.value, rel=1e-5) for value, unit in written
    )


def test_the_patient_has_a_section(report: Dataset, dicom_results: DicomResults) -> None:
    (section,) = (item for item in children(report, "CONTAINER") if concept(item) == "121118")
    told = {concept(item): quantity_and_unit(item) for item in children(section, "NUM")}
    for code, quantity in (("8277-6", Quantity.BSA), ("8867-4", Quantity.HEART_RATE)):
        measurement = dicom_results.report.find(quantity)
        assert measurement is not None
        assert told[code] == (pytest.approx(measurement.value, rel=1e-5), measurement.unit)


def test_method_moment_and_view_tell_volumes_apart(report: Dataset) -> None:
    volumes = [modifiers(item) for _, item in findings(report) if concept(item) == "18026-5"]
    assert {(one["370129005"], one.get("111031")) for one in volumes} == {
        ("Method of Disks, Biplane", None),
        ("Method of Disks, Single Plane", "Apical four chamber"),
        ("Method of Disks, Single Plane", "Apical two chamber"),
    }
    assert {one["272518008"] for one in volumes} == {"End diastole"}
    fractions = [modifiers(item).get("370129005") for _, item in findings(report) if concept(item) == "18043-0"]
    assert "Method of Disks, Biplane" in fractions
    assert "Regression from the clip" in fractions


def test_every_value_refers_to_its_frames_or_lines(report: Dataset, dicom_results: DicomResults) -> None:
    known = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in dicom_results.sources.glob("*.dcm")}
    for _, item in findings(report):
        images = [*children(item, "IMAGE")]
        for line in children(item, "SCOORD"):
            images += children(line, "IMAGE")
        assert images, concept(item)
        assert {str(image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for image in images} <= known


def test_what_has_no_code_is_left_out_and_counted(report: Dataset, dicom_results: DicomResults) -> None:
    left_out = [item for item in dicom_results.report.measurements if item.quantity in NO_CODE]
    assert left_out
    note = f"DICOM SR by TID 5200: {len(left_out)} values left out, the standard has no code for them"
    assert note in dicom_results.report.notes
    written = [quantity_and_unit(item) for _, item in findings(report)]
    assert not [item.quantity for item in left_out if is_among(item, written)]
