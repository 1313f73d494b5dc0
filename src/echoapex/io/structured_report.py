"""DICOM structured reports of the values of one study, each with its frames, its contour or its caliper line.

``build_echo_report``
    "Simplified Adult Echo SR" by TID 5300, which echo reporting systems read. A value whose method has a code in
    CID 12300 is pre-coordinated (TID 5301); all others are post-coordinated (TID 5302) under a code of our own.
``build_measurement_report``
    Comprehensive 3D SR by TID 1500, which general viewers read.

Both are partial and not verified: no person has looked at them. Sources: DICOM PS3.3 A.35.17 and C.17, PS3.16 TID 1001,
1004, 1500, 4019 and 5300 to 5302, PS3.17 annex CCCC.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import RelationshipTypeValues as Relation
from highdicom.sr.value_types import ContentItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code as DicomCode
from pydicom.uid import UID

from echoapex.domain import Measurement
from echoapex.io.clip_source import muted_pydicom
from echoapex.io.dicom.derived_object import MANUFACTURER, Software, new_uid, write_object
from echoapex.io.dicom.source_instance import identity_dataset
from echoapex.io.report_values import FrameReference, ReportedValue, StudyValuesForDicom
from echoapex.vocabulary import codes
from echoapex.vocabulary.codes import Code, unit_code
from echoapex.vocabulary.echo_coding import PATIENT_CODES

SIMPLIFIED_ADULT_ECHO_SR = UID("1.2.840.10008.5.1.4.1.1.88.72")
SERIES_NUMBER = 9100
_ALGORITHM = "EchoApex"
_DIGITS = 6
_LONGEST_TEXT = 64


def write_echo_report(path: Path, study: StudyValuesForDicom, software: Software, series_uid: str) -> Path:
    """Write :func:`build_echo_report`."""
    with muted_pydicom():
        return write_object(path, build_echo_report(study, software, series_uid))


def write_measurement_report(path: Path, study: StudyValuesForDicom, software: Software, series_uid: str) -> Path:
    """Write :func:`build_measurement_report`."""
    with muted_pydicom():
        return write_object(path, build_measurement_report(study, software, series_uid))


def build_echo_report(study: StudyValuesForDicom, software: Software, series_uid: str) -> Dataset:
    """The values of a study as Simplified Adult Echo SR (TID 5300)."""
    root = hd.sr.ContainerContentItem(_coded(codes.ECHO_REPORT), template_id="5300")
    root.ContentSequence = hd.sr.ContentSequence(
        [
            *hd.sr.LanguageOfContentItemAndDescendants(_english()),
            *_observer(software),
            *_comments(study.values, software),
        ],
        is_root=False,
    )
    about_patient = [value for value in study.values if value.coding is None]
    pre = [value for value in study.values if value.coding and value.coding.is_pre_coordinated]
    post = [value for value in study.values if value.coding and not value.coding.is_pre_coordinated]
    for title, values in (
        (codes.PATIENT_CHARACTERISTICS, about_patient),
        (codes.PRE_COORDINATED, pre),
        (codes.POST_COORDINATED, post),
    ):
        if values:
            container = hd.sr.ContainerContentItem(_coded(title), relationship_type=Relation.CONTAINS)
            container.ContentSequence = hd.sr.ContentSequence([_echo_item(value) for value in values])
            root.ContentSequence.append(container)
    evidence = [identity_dataset(source) for source in study.sources.values()]
    document = hd.sr.ComprehensiveSR(evidence, root, **_identity(study, software, series_uid, 1))
    # highdicom has no class for this object; its content rules are those of a Comprehensive SR by value
    document.SOPClassUID = document.file_meta.MediaStorageSOPClassUID = SIMPLIFIED_ADULT_ECHO_SR
    return _finished(document)


def build_measurement_report(study: StudyValuesForDicom, software: Software, series_uid: str) -> Dataset:
    """The values of a study as Comprehensive 3D SR (TID 1500)."""
    evidence = [identity_dataset(source) for source in study.sources.values()]
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=_observer_context(software)),
        procedure_reported=_coded(codes.ECHOCARDIOGRAPHY),
        imaging_measurements=[_group(value, software) for value in study.values],
        title=_coded(codes.MEASUREMENT_REPORT),
        language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(_english()),
        referenced_images=evidence,
    )
    return _finished(hd.sr.Comprehensive3DSR(evidence, content, **_identity(study, software, series_uid, 2)))


def _identity(study: StudyValuesForDicom, software: Software, series_uid: str, number: int) -> dict[str, Any]:
    """The identity of a document, and who made it; PARTIAL and UNVERIFIED are highdicom's defaults."""
    return {
        "series_instance_uid": series_uid,
        "series_number": SERIES_NUMBER,
        "sop_instance_uid": new_uid(),
        "instance_number": number,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": _short(f"EchoApex, {software.bundle}"),
        "software_versions": software.version,
        "device_serial_number": software.weights_digest,
        "series_description": "EchoApex: not verified",
        "coding_schemes": [own_coding_scheme()],
    }


def own_coding_scheme() -> Dataset:
    """Who is responsible for the codes of our own scheme."""
    return CodingSchemeIdentificationItem(
        designator=codes.OWN_SCHEME, name="EchoApex", responsible_organization="The EchoApex authors"
    )


def _finished(document: Dataset) -> Dataset:
    """The document, which must not claim that a person has checked it."""
    assert (document.CompletionFlag, document.VerificationFlag) == ("PARTIAL", "UNVERIFIED")
    return document


def _observer_context(software: Software) -> hd.sr.ObserverContext:
    return hd.sr.ObserverContext(
        observer_type=standard.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=software.device_uid,
            name=_ALGORITHM,
            manufacturer_name=MANUFACTURER,
            model_name=f"{software.bundle}, version {software.version}",
            serial_number=software.weights_digest,
        ),
    )


def _observer(software: Software) -> Sequence[ContentItem]:
    """TID 1001 with TID 4019 below it: TID 5300 has no row for the algorithm, and is extensible."""
    algorithm = hd.sr.AlgorithmIdentification(_ALGORITHM, software.version, parameters=software.parameters)
    for item in algorithm:
        item.RelationshipType = Relation.HAS_OBS_CONTEXT.value
    return [*hd.sr.ObservationContext(observer_device_context=_observer_context(software)), *algorithm]


def _comments(values: Sequence[ReportedValue], software: Software) -> Iterator[ContentItem]:
    """The disclaimer, and the doubts about each value: TID 5301 allows no modifier for them."""
    yield _text(codes.COMMENT, software.disclaimer, Relation.CONTAINS)
    for value in values:
        remark = _remark(value.measurement)
        if remark:
            label = value.coding.short_label if value.coding else value.measurement.quantity.display_name
            yield _text(codes.COMMENT, f"{label} {value.measurement.value:.4g}: {remark}", Relation.CONTAINS)


def _remark(measurement: Measurement) -> str:
    """Method, interval and flags in words."""
    parts = [measurement.method]
    if measurement.interval:
        low, high = measurement.interval
        parts.append(f"95 % interval {low:.4g} to {high:.4g} {measurement.unit}")
    if measurement.flags:
        parts.append("look twice: " + ", ".join(flag.value.replace("_", " ") for flag in measurement.flags))
    return "; ".join(parts)


def _echo_item(value: ReportedValue) -> ContentItem:
    """One NUM item: TID 5301 or 5302, or a characteristic of the patient."""
    coding = value.coding
    name = coding.name if coding else PATIENT_CODES[value.measurement.quantity]
    item = _number(name, value.measurement)
    parts: list[ContentItem] = []
    if coding and not coding.is_pre_coordinated:
        modifiers = [
            (codes.MEASUREMENT_TYPE, coding.measurement_type),
            (codes.FINDING_SITE, coding.finding_site),
            (codes.OBSERVATION_TYPE, coding.observation_type),
            (codes.MEASURED_PROPERTY, coding.measured_property),
            (codes.MEASUREMENT_METHOD, coding.method),
            (codes.IMAGE_MODE, codes.TWO_D_MODE),
            (codes.IMAGE_VIEW, value.view.code if value.view else None),
            (codes.CARDIAC_CYCLE_POINT, coding.cardiac_cycle_point),
            (codes.MEASUREMENT_DIVISOR, coding.divisor),
        ]
        parts += [_code(concept, said, Relation.HAS_CONCEPT_MOD) for concept, said in modifiers if said]
    if coding and value.derivation:
        parts.append(_code(codes.DERIVATION, value.derivation, Relation.HAS_CONCEPT_MOD))
    if coding:
        parts.append(_text(codes.SHORT_LABEL, coding.short_label, Relation.HAS_PROPERTIES))
    parts += [_line(reference) if reference.line_xy else _whole_frames(reference) for reference in value.references]
    item.ContentSequence = hd.sr.ContentSequence(parts)
    return item


def _group(value: ReportedValue, software: Software) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501: one value with its algorithm, view, image mode and moment of the cardiac cycle."""
    measurement, coding = value.measurement, value.coding
    lines = [_line(reference) for reference in value.references if reference.line_xy]
    wholes = [_whole_frames(reference) for reference in value.references if not reference.line_xy]
    said = [(codes.IMAGE_MODE, codes.TWO_D_MODE), (codes.IMAGE_VIEW, value.view.code if value.view else None)]
    if coding:
        said.append((codes.CARDIAC_CYCLE_POINT, coding.cardiac_cycle_point))
    site = [hd.sr.FindingSite(_coded(coding.finding_site))] if coding else None
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=new_uid(), identifier=measurement.quantity.display_name),
        algorithm_id=hd.sr.AlgorithmIdentification(_ALGORITHM, software.version, parameters=software.parameters),
        measurements=[
            hd.sr.Measurement(
                name=_coded(coding.name if coding else PATIENT_CODES[measurement.quantity]),
                value=_rounded(measurement),
                unit=_coded(unit_code(measurement.unit)),
                derivation=_coded(value.derivation) if value.derivation else None,
                finding_sites=site,
                method=_coded(coding.method) if coding and coding.method else None,
                referenced_images=wholes or None,
                referenced_coordinates=lines or None,
            )
        ],
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(_coded(name), _coded(code)) for name, code in said if code and coding
        ],
    )
    group[0].ContentSequence.append(_text(codes.COMMENT, _remark(measurement), Relation.CONTAINS))
    return group


def _whole_frames(reference: FrameReference) -> hd.sr.SourceImageForMeasurement:
    """The frames that a value was measured on (TID 320)."""
    source = reference.source
    numbers = source.frame_numbers(reference.frames)
    return hd.sr.SourceImageForMeasurement(source.sop_class_uid, source.sop_instance_uid, numbers)


def _line(reference: FrameReference) -> hd.sr.CoordinatesForMeasurement:
    """The contour or the caliper line, and its frame (TID 320)."""
    source = reference.source
    numbers = source.frame_numbers(reference.frames)
    image = hd.sr.SourceImageForRegion(source.sop_class_uid, source.sop_instance_uid, numbers)
    height, width = source.size
    points = np.clip(np.array(reference.line_xy), 0.0, [width, height])  # outside of the image is not allowed
    return hd.sr.CoordinatesForMeasurement("POLYLINE", points, image, _coded(codes.SOURCE_OF_MEASUREMENT))


def _number(name: Code, measurement: Measurement) -> ContentItem:
    unit = _coded(unit_code(measurement.unit))
    return hd.sr.NumContentItem(_coded(name), _rounded(measurement), unit, relationship_type=Relation.CONTAINS)


def _rounded(measurement: Measurement) -> float:
    """As many digits as in measurements.csv."""
    return float(f"{measurement.value:.{_DIGITS}g}")


def _text(name: Code, value: str, relation: Relation) -> ContentItem:
    return hd.sr.TextContentItem(_coded(name), value, relation)


def _code(name: Code, value: Code, relation: Relation) -> ContentItem:
    return hd.sr.CodeContentItem(_coded(name), _coded(value), relation)


def _coded(code: Code) -> hd.sr.CodedConcept:
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def _english() -> hd.sr.CodedConcept:
    return hd.sr.CodedConcept.from_code(DicomCode("en", "RFC5646", "English"))


def _short(text: str) -> str:
    """Within the length of a long string (LO)."""
    return text[:_LONGEST_TEXT]
