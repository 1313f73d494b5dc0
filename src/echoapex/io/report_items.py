"""The content items that all structured reports share: who measured, a value with its unit, its frames and contours.

Sources: DICOM PS3.3 C.17 and C.18, PS3.16 TID 320, 1001, 1004 and 4019.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import RelationshipTypeValues as Relation
from highdicom.sr.value_types import ContentItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code as DicomCode

from echoapex.domain import Measurement
from echoapex.io.dicom.derived_object import MANUFACTURER, Software, new_uid
from echoapex.io.report_values import FrameReference, ReportedValue
from echoapex.vocabulary import codes
from echoapex.vocabulary.codes import Code, unit_code

SERIES_NUMBER = 9100
_ALGORITHM = "EchoApex"
_DIGITS = 6
_LONGEST_TEXT = 64


def document_identity(software: Software, series_uid: str, number: int) -> dict[str, Any]:
    """The identity of a document, and who made it; PARTIAL and UNVERIFIED are highdicom's defaults."""
    return {
        "series_instance_uid": series_uid,
        "series_number": SERIES_NUMBER,
        "sop_instance_uid": new_uid(),
        "instance_number": number,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": f"EchoApex, {software.bundle}"[:_LONGEST_TEXT],
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


def require_unverified(document: Dataset) -> Dataset:
    """The document, which must not claim that a person has checked it."""
    assert (document.CompletionFlag, document.VerificationFlag) == ("PARTIAL", "UNVERIFIED")
    return document


def observer_context(software: Software) -> hd.sr.ObserverContext:
    """The device that measured (TID 1004)."""
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


def device_observer(software: Software) -> Sequence[ContentItem]:
    """TID 1001 with TID 4019 below it: echo templates have no row for the algorithm, and are extensible."""
    named = algorithm(software)
    for item in named:
        item.RelationshipType = Relation.HAS_OBS_CONTEXT.value
    return [*hd.sr.ObservationContext(observer_device_context=observer_context(software)), *named]


def algorithm(software: Software) -> hd.sr.AlgorithmIdentification:
    """TID 4019: name, version, and the weights as parameters."""
    return hd.sr.AlgorithmIdentification(_ALGORITHM, software.version, parameters=software.parameters)


def comments(values: Sequence[ReportedValue], software: Software) -> Iterator[ContentItem]:
    """The disclaimer, and the doubts about each value: the templates have no place for them."""
    yield text_item(codes.COMMENT, software.disclaimer, Relation.CONTAINS)
    for value in values:
        label = value.coding.short_label if value.coding else value.measurement.quantity.display_name
        said = f"{label} {value.measurement.value:.4g}: {remark(value.measurement)}"
        yield text_item(codes.COMMENT, said, Relation.CONTAINS)


def remark(measurement: Measurement) -> str:
    """Method, interval and flags in words."""
    parts = [measurement.method]
    if measurement.interval:
        low, high = measurement.interval
        parts.append(f"95 % interval {low:.4g} to {high:.4g} {measurement.unit}")
    if measurement.flags:
        parts.append("look twice: " + ", ".join(flag.value.replace("_", " ") for flag in measurement.flags))
    return "; ".join(parts)


def number_item(name: Code, measurement: Measurement) -> ContentItem:
    """A NUM item with its unit."""
    unit = coded(unit_code(measurement.unit))
    return hd.sr.NumContentItem(coded(name), rounded(measurement), unit, relationship_type=Relation.CONTAINS)


def text_item(name: Code, value: str, relation: Relation) -> ContentItem:
    """A TEXT item."""
    return hd.sr.TextContentItem(coded(name), value, relation)


def code_item(name: Code, value: Code, relation: Relation) -> ContentItem:
    """A CODE item."""
    return hd.sr.CodeContentItem(coded(name), coded(value), relation)


def measured_on(value: ReportedValue) -> list[ContentItem]:
    """Each frame, contour and caliper line of a value."""
    return [contour_or_caliper(one) if one.line_xy else whole_frames(one) for one in value.references]


def whole_frames(reference: FrameReference) -> hd.sr.SourceImageForMeasurement:
    """The frames that a value was measured on (TID 320)."""
    source = reference.source
    numbers = source.frame_numbers(reference.frames)
    return hd.sr.SourceImageForMeasurement(source.sop_class_uid, source.sop_instance_uid, numbers)


def contour_or_caliper(reference: FrameReference) -> hd.sr.CoordinatesForMeasurement:
    """The contour or the caliper line, and its frame (TID 320)."""
    return hd.sr.CoordinatesForMeasurement("POLYLINE", *points_and_image(reference), coded(codes.SOURCE_OF_MEASUREMENT))


def points_and_image(reference: FrameReference) -> tuple[np.ndarray, hd.sr.SourceImageForRegion]:
    """The points of a line inside the image, and the frame they are on."""
    source = reference.source
    numbers = source.frame_numbers(reference.frames)
    image = hd.sr.SourceImageForRegion(source.sop_class_uid, source.sop_instance_uid, numbers)
    height, width = source.size
    return np.clip(np.array(reference.line_xy), 0.0, [width, height]), image  # outside of the image is not allowed


def rounded(measurement: Measurement) -> float:
    """As many digits as in measurements.csv."""
    return float(f"{measurement.value:.{_DIGITS}g}")


def coded(code: Code) -> hd.sr.CodedConcept:
    """A code as highdicom wants it."""
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def english() -> hd.sr.CodedConcept:
    """The language of all reports (TID 1204)."""
    return hd.sr.CodedConcept.from_code(DicomCode("en", "RFC5646", "English"))
