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
from datetime import datetime
from pathlib import Path

import highdicom as hd
from highdicom.sr import RelationshipTypeValues as Relation
from highdicom.sr.value_types import ContentItem
from pydicom.dataset import Dataset
from pydicom.uid import UID

from echoapex.io.clip_source import muted_pydicom
from echoapex.io.dicom.derived_object import Software, new_uid, write_object
from echoapex.io.dicom.source_instance import identity_dataset
from echoapex.io.report_items import (
    algorithm,
    code_item,
    coded,
    comments,
    contour_or_caliper,
    device_observer,
    document_identity,
    english,
    number_item,
    observer_context,
    points_and_image,
    remark,
    require_unverified,
    rounded,
    text_item,
    whole_frames,
)
from echoapex.io.report_values import Line, ReportedValue, StudyValuesForDicom
from echoapex.vocabulary import codes
from echoapex.vocabulary.codes import unit_code
from echoapex.vocabulary.echo_coding import PATIENT_CODES

SIMPLIFIED_ADULT_ECHO_SR = UID("1.2.840.10008.5.1.4.1.1.88.72")


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
    root = hd.sr.ContainerContentItem(coded(codes.ECHO_REPORT), template_id="5300")
    root.ContentSequence = hd.sr.ContentSequence(
        [
            *hd.sr.LanguageOfContentItemAndDescendants(english()),
            *device_observer(software),
            *comments(study.values, software),
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
            container = hd.sr.ContainerContentItem(coded(title), relationship_type=Relation.CONTAINS)
            container.ContentSequence = hd.sr.ContentSequence([_echo_item(value) for value in values])
            root.ContentSequence.append(container)
    evidence = [identity_dataset(source) for source in study.sources.values()]
    document = hd.sr.ComprehensiveSR(evidence, root, **document_identity(software, series_uid, 1))
    # highdicom has no class for this object; its content rules are those of a Comprehensive SR by value
    document.SOPClassUID = document.file_meta.MediaStorageSOPClassUID = SIMPLIFIED_ADULT_ECHO_SR
    document.TimezoneOffsetFromUTC = _timezone(study)  # the only SR object in which it is required
    return require_unverified(document)


def build_measurement_report(study: StudyValuesForDicom, software: Software, series_uid: str) -> Dataset:
    """The values of a study as Comprehensive 3D SR (TID 1500)."""
    evidence = [identity_dataset(source) for source in study.sources.values()]
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer_context(software)),
        procedure_reported=coded(codes.ECHOCARDIOGRAPHY),
        imaging_measurements=[
            *(_group(value, software) for value in study.values),
            *_regions(study.values, software),
        ],
        title=coded(codes.MEASUREMENT_REPORT),
        language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(english()),
        referenced_images=evidence,
    )
    return require_unverified(hd.sr.Comprehensive3DSR(evidence, content, **document_identity(software, series_uid, 2)))


def _timezone(study: StudyValuesForDicom) -> str:
    """The offset from UTC that the images state; where they do not, that of this machine."""
    stated = (source.elements.get("TimezoneOffsetFromUTC", "") for source in study.sources.values())
    return next((offset for offset in stated if offset), datetime.now().astimezone().strftime("%z"))


def _echo_item(value: ReportedValue) -> ContentItem:
    """One NUM item: TID 5301 or 5302, or a characteristic of the patient."""
    coding = value.coding
    name = coding.name if coding else PATIENT_CODES[value.measurement.quantity]
    item = number_item(name, value.measurement)
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
        parts += [code_item(concept, said, Relation.HAS_CONCEPT_MOD) for concept, said in modifiers if said]
    if coding and value.derivation:
        parts.append(code_item(codes.DERIVATION, value.derivation, Relation.HAS_CONCEPT_MOD))
    if coding:
        parts.append(text_item(codes.SHORT_LABEL, coding.short_label, Relation.HAS_PROPERTIES))
    parts += [
        contour_or_caliper(reference) if reference.line_xy else whole_frames(reference)
        for reference in value.references
    ]
    item.ContentSequence = hd.sr.ContentSequence(parts)
    return item


def _group(value: ReportedValue, software: Software) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501: one value with its algorithm, view, image mode and moment of the cardiac cycle."""
    measurement, coding = value.measurement, value.coding
    lines = [contour_or_caliper(reference) for reference in value.references if reference.line_xy]
    wholes = [whole_frames(reference) for reference in value.references if not reference.line_xy]
    said = [(codes.IMAGE_MODE, codes.TWO_D_MODE), (codes.IMAGE_VIEW, value.view.code if value.view else None)]
    if coding:
        said.append((codes.CARDIAC_CYCLE_POINT, coding.cardiac_cycle_point))
    site = [hd.sr.FindingSite(coded(coding.finding_site))] if coding else None
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=new_uid(), identifier=measurement.quantity.display_name),
        algorithm_id=algorithm(software),
        measurements=[
            hd.sr.Measurement(
                name=coded(coding.name if coding else PATIENT_CODES[measurement.quantity]),
                value=rounded(measurement),
                unit=coded(unit_code(measurement.unit)),
                derivation=coded(value.derivation) if value.derivation else None,
                finding_sites=site,
                method=coded(coding.method) if coding and coding.method else None,
                referenced_images=wholes or None,
                referenced_coordinates=lines or None,
            )
        ],
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(coded(name), coded(code)) for name, code in said if code and coding
        ],
    )
    group[0].ContentSequence.append(text_item(codes.COMMENT, remark(measurement), Relation.CONTAINS))
    return group


def _regions(
    values: Sequence[ReportedValue], software: Software
) -> Iterator[hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations]:
    """TID 1410: each contour and caliper line once, as a region; viewers draw the regions of groups, not of values."""
    drawn: set[tuple[str, tuple[int, ...], Line]] = set()
    for value, reference in [(item, each) for item in values for each in item.references]:
        place = (reference.source.sop_instance_uid, reference.frames, reference.line_xy)
        if not reference.line_xy or place in drawn:
            continue
        drawn.add(place)
        points, image = points_and_image(reference)
        name = value.measurement.quantity.display_name
        yield hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(uid=new_uid(), identifier=f"Line of {name}"),
            referenced_region=hd.sr.ImageRegion("POLYLINE", points, image),
            finding_sites=[hd.sr.FindingSite(coded(value.coding.finding_site))] if value.coding else None,
            algorithm_id=algorithm(software),
        )
