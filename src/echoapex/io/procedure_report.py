"""The values of one study as Echocardiography Procedure Report (TID 5200), for receivers older than TID 5300.

Ultrasound machines and reporting systems have exchanged this report for many years. Its findings stand in sections, one
for each structure of the heart, and each value has modifiers for method, view and moment. It is a Comprehensive SR.
Source: DICOM PS3.16, TID 5200 (report), 5201 (patient), 5202 (section), 5203 (measurement), 300 and 320.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import highdicom as hd
from highdicom.sr import RelationshipTypeValues as Relation
from highdicom.sr.value_types import ContentItem
from pydicom.dataset import Dataset

from echoapex.io.clip_source import muted_pydicom
from echoapex.io.dicom.derived_object import Software, write_object
from echoapex.io.dicom.source_instance import identity_dataset
from echoapex.io.report_items import (
    code_item,
    coded,
    comments,
    device_observer,
    document_identity,
    english,
    measured_on,
    number_item,
    require_unverified,
)
from echoapex.io.report_values import ReportedValue, StudyValuesForDicom
from echoapex.vocabulary import codes
from echoapex.vocabulary.codes import Code
from echoapex.vocabulary.echo_coding import PATIENT_CODES
from echoapex.vocabulary.procedure_coding import SECTIONS, ProcedureCoding, code_finding

_Finding = tuple[ReportedValue, ProcedureCoding]


def write_procedure_report(path: Path, study: StudyValuesForDicom, software: Software, series_uid: str) -> Path:
    """Write :func:`build_procedure_report`."""
    with muted_pydicom():
        return write_object(path, build_procedure_report(study, software, series_uid))


def build_procedure_report(study: StudyValuesForDicom, software: Software, series_uid: str) -> Dataset:
    """The values of a study as Comprehensive SR (TID 5200); those of :func:`values_without_code` are left out."""
    told = [value for value in study.values if value.coding is None or _coding_of(value) is not None]
    root = hd.sr.ContainerContentItem(coded(codes.ECHO_REPORT), template_id="5200")
    root.ContentSequence = hd.sr.ContentSequence(
        [
            *hd.sr.LanguageOfContentItemAndDescendants(english()),
            *device_observer(software),
            *comments(told, software),
            *_patient(told),
            *_sections(told),
        ],
        is_root=False,
    )
    evidence = [identity_dataset(source) for source in study.sources.values()]
    return require_unverified(hd.sr.ComprehensiveSR(evidence, root, **document_identity(software, series_uid, 3)))


def values_without_code(study: StudyValuesForDicom) -> tuple[ReportedValue, ...]:
    """The values that this template has no code for."""
    return tuple(value for value in study.values if value.coding is not None and _coding_of(value) is None)


def _coding_of(value: ReportedValue) -> ProcedureCoding | None:
    return code_finding(value.measurement.quantity, biplane=value.biplane, view=value.view)


def _patient(values: Sequence[ReportedValue]) -> Iterator[ContentItem]:
    """TID 5201: what describes the patient."""
    items = []
    for value in values:
        if value.coding is None:
            item = number_item(PATIENT_CODES[value.measurement.quantity], value.measurement)
            item.ContentSequence = hd.sr.ContentSequence(measured_on(value))
            items.append(item)
    if items:
        yield _container(codes.PATIENT_CHARACTERISTICS, items)


def _sections(values: Sequence[ReportedValue]) -> Iterator[ContentItem]:
    """TID 5202: the findings of each structure, in one group, because all are from 2D images."""
    findings: list[_Finding] = [(value, coding) for value in values if (coding := _coding_of(value)) is not None]
    for site in SECTIONS:
        of_site = [(value, coding) for value, coding in findings if coding.section == site]
        if of_site:
            mode = code_item(codes.IMAGE_MODE, codes.TWO_D_MODE, Relation.HAS_CONCEPT_MOD)
            group = _container(codes.MEASUREMENT_GROUP, [mode, *(_measurement(*finding) for finding in of_site)])
            where = code_item(codes.FINDING_SITE, site, Relation.HAS_CONCEPT_MOD)
            yield _container(codes.FINDINGS, [where, group])


def _measurement(value: ReportedValue, coding: ProcedureCoding) -> ContentItem:
    """TID 5203: one value with its modifiers, frames and lines."""
    item = number_item(coding.name, value.measurement)
    modifiers = (
        (codes.MEASUREMENT_METHOD, coding.method),
        (codes.DERIVATION, value.derivation),
        (codes.CARDIAC_CYCLE_POINT, coding.cardiac_cycle_point),
        (codes.IMAGE_VIEW, value.view.code if value.view else None),
    )
    said = [code_item(concept, code, Relation.HAS_CONCEPT_MOD) for concept, code in modifiers if code]
    item.ContentSequence = hd.sr.ContentSequence([*said, *measured_on(value)])
    return item


def _container(title: Code, items: Sequence[ContentItem]) -> ContentItem:
    container = hd.sr.ContainerContentItem(coded(title), relationship_type=Relation.CONTAINS)
    container.ContentSequence = hd.sr.ContentSequence(items)
    return container
