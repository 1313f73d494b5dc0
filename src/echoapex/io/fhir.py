"""One study as a FHIR R4 bundle: a ``DiagnosticReport`` and an ``Observation`` for each value, in the shape of IHE IMR.

Everything is ``preliminary``, because no person has looked at it. There is no ``Patient``: the receiver adds it. A
value has the LOINC code with exactly its meaning where one was checked, and always the name of its quantity in our own
code system. LOINC codings have no ``display``: the names that were checked are those of DICOM, and they are the
``text``. A quantity without a value is an ``Observation`` with the reason in ``dataAbsentReason``.

Identifiers are derived from the content, so the same results give the same bundle.
Sources: HL7 FHIR R4 (4.0.1); IHE Radiology, Interactive Multimedia Report (IMR); UCUM.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from echoapex.domain import Evidence, Measurement
from echoapex.domain.reported_study import GradedValue, MissingValue, NormalLimits, ReportedStudy
from echoapex.io.temporary_files import write_bytes_atomically
from echoapex.vocabulary import Quantity
from echoapex.vocabulary.codes import Code

LOINC, UCUM, DICOM = "http://loinc.org", "http://unitsofmeasure.org", "http://dicom.nema.org/resources/ontology/DCM"
QUANTITY_SYSTEM = "urn:echoapex:quantity"
"""Our code system of quantities; its codes are the values of ``Quantity``."""
DETAIL_SYSTEM = "urn:echoapex:detail"
"""Our code system of what is said beside a value: ``interval-95`` and ``confidence``."""
STUDY_SYSTEM, CLIP_SYSTEM, WEIGHTS_SYSTEM = "urn:echoapex:study", "urn:echoapex:clip", "urn:echoapex:weights-sha256"
REPORT_CODE = Code("42148-7", "LN", "Echocardiography Report")
_HL7 = "http://terminology.hl7.org/CodeSystem"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:echoapex:fhir")
_INTERPRETATIONS = {"normal": ("N", "Normal")}
_LOW, _HIGH, _ABNORMAL = ("L", "Low"), ("H", "High"), ("A", "Abnormal")
_SEXES = {"women": "female", "men": "male"}
_DIGITS = 6

Resource = dict[str, Any]


def write_fhir(path: Path, study: ReportedStudy, html: bytes | None = None) -> Path:
    """Write the bundle of a study as JSON.

    Args:
        path: where to.
        study: the study.
        html: the rendered report, which then becomes ``presentedForm``.
    """
    text = json.dumps(fhir_bundle(study, html), indent=1, ensure_ascii=False) + "\n"
    return write_bytes_atomically(path, text.encode())


def fhir_bundle(study: ReportedStudy, html: bytes | None = None) -> Resource:
    """The bundle of a study: the report first, then its values, then the software.

    Args:
        study: the study.
        html: the rendered report.
    """
    key = _key(study)
    device = _entry(key, "device", _device(study))
    values = [
        _entry(key, value.quantity.value, _observation(value, study, key, device["fullUrl"])) for value in study.values
    ]
    absent = [
        _entry(key, missing.quantity.value, _absent_observation(missing, device["fullUrl"]))
        for missing in study.missing
    ]
    report = _entry(key, "report", _report(study, [*values, *absent], html))
    return {
        "resourceType": "Bundle",
        "id": str(uuid.uuid5(_NAMESPACE, f"{key} bundle")),
        "identifier": {"system": STUDY_SYSTEM, "value": study.digest},
        "type": "collection",
        "entry": [report, *values, *absent, device],
    }


def _key(study: ReportedStudy) -> str:
    """What makes these results different from all others: the study, its values, the software and the weights."""
    parts = [study.digest, study.version, *(f"{item.name} {item.sha256}" for item in study.weights)]
    parts += [value.measurement.model_dump_json() for value in study.values]
    parts += [f"{missing.quantity} {missing.reason}" for missing in study.missing]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _entry(key: str, name: str, resource: Resource) -> Resource:
    identifier = str(uuid.uuid5(_NAMESPACE, f"{key} {name}"))
    typed = {"resourceType": resource["resourceType"], "id": identifier}
    return {"fullUrl": f"urn:uuid:{identifier}", "resource": typed | resource}


def _full_url(key: str, name: str) -> str:
    return f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{key} {name}')}"


def _device(study: ReportedStudy) -> Resource:
    weights = [f"{item.name}: {item.licence or 'licence not stated'}" for item in study.weights]
    return {
        "resourceType": "Device",
        "identifier": [
            {"system": WEIGHTS_SYSTEM, "value": digest} for digest in dict.fromkeys(w.sha256 for w in study.weights)
        ],
        "manufacturer": "EchoApex",
        "deviceName": [{"name": "EchoApex", "type": "user-friendly-name"}],
        "version": [{"value": study.version}],
        "note": [
            {"text": study.disclaimer},
            {"text": f"set of weights {study.bundle}. {'; '.join(weights)}"},
            *([{"text": study.weights_note}] if study.weights_note else []),
        ],
    }


def _report(study: ReportedStudy, results: Sequence[Resource], html: bytes | None) -> Resource:
    report: Resource = {
        "resourceType": "DiagnosticReport",
        "identifier": [{"system": STUDY_SYSTEM, "value": study.digest}],
        "status": "preliminary",
        "category": [{"coding": [{"system": f"{_HL7}/v2-0074", "code": "CUS", "display": "Cardiac Ultrasound"}]}],
        "code": {
            "coding": [{"system": LOINC, "code": REPORT_CODE.value}],
            "text": "Echocardiography report: measurements by software, not reviewed",
        },
        "result": [{"reference": item["fullUrl"]} for item in results],
        "conclusion": _conclusion(study),
    }
    if html is not None:
        report["presentedForm"] = [
            {
                "contentType": "text/html",
                "language": "en",
                "data": base64.b64encode(html).decode(),
                "size": len(html),
                "hash": base64.b64encode(hashlib.sha1(html, usedforsecurity=False).digest()).decode(),
                "title": "Echocardiography report",
            }
        ]
    return report


def _conclusion(study: ReportedStudy) -> str:
    parts = [f"LV geometry: {study.lvh.category or study.lvh.reason}.", *(f"{note}." for note in study.notes)]
    aside = len(study.clips) - len(study.analysed)
    parts.append(f"{len(study.analysed)} clips analysed, {aside} set aside.")
    return " ".join((*parts, study.disclaimer))


def _observation(value: GradedValue, study: ReportedStudy, key: str, device: str) -> Resource:
    measurement = value.measurement
    found: Resource = {
        "resourceType": "Observation",
        "status": "preliminary",
        "category": _category(),
        "code": _concept(value.quantity, value.loinc),
        "valueQuantity": _quantity(measurement.value, measurement.unit),
    }
    if value.category:
        found["interpretation"] = [_interpretation(value)]
    notes = [f"flag: {flag.value.replace('_', ' ')}" for flag in measurement.flags]
    notes += [_evidence_text(item) for item in measurement.evidence]
    if notes:
        found["note"] = [{"text": note} for note in notes]
    found["method"] = {"text": measurement.method}
    found["device"] = {"reference": device}
    if value.limits:
        found["referenceRange"] = [_reference_range(limits, value) for limits in value.limits]
    sources = [*_derived_from(measurement, study, key), *_clips_of(measurement)]
    if sources:
        found["derivedFrom"] = sources
    components = list(_components(measurement))
    if components:
        found["component"] = components
    return found


def _absent_observation(missing: MissingValue, device: str) -> Resource:
    reason = {"system": f"{_HL7}/data-absent-reason", "code": "not-performed", "display": "Not Performed"}
    return {
        "resourceType": "Observation",
        "status": "preliminary",
        "category": _category(),
        "code": _concept(missing.quantity, None),
        "dataAbsentReason": {"coding": [reason], "text": missing.reason},
        "device": {"reference": device},
    }


def _category() -> list[Resource]:
    return [{"coding": [{"system": f"{_HL7}/observation-category", "code": "imaging", "display": "Imaging"}]}]


def _concept(quantity: Quantity, loinc: Code | None) -> Resource:
    """LOINC where there is a code with exactly this meaning, then our own name."""
    own = {"system": QUANTITY_SYSTEM, "code": quantity.value, "display": quantity.display_name}
    coding = [{"system": LOINC, "code": loinc.value}] if loinc else []
    return {"coding": [*coding, own], "text": loinc.meaning if loinc else quantity.display_name}


def _quantity(number: float, unit: str) -> Resource:
    return {"value": _rounded(number), "unit": unit, "system": UCUM, "code": unit}


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")


def _interpretation(value: GradedValue) -> Resource:
    code, display = _INTERPRETATIONS.get(value.category, _direction(value))
    coding = {"system": f"{_HL7}/v3-ObservationInterpretation", "code": code, "display": display}
    return {"coding": [coding], "text": value.category}


def _direction(value: GradedValue) -> tuple[str, str]:
    """Whether an abnormal value is low or high by all of its limits; plainly abnormal where they do not tell."""
    number = value.measurement.value
    if all(limits.low is not None and number < limits.low for limits in value.limits):
        return _LOW
    if all(limits.high is not None and number > limits.high for limits in value.limits):
        return _HIGH
    return _ABNORMAL


def _reference_range(limits: NormalLimits, value: GradedValue) -> Resource:
    unit = value.measurement.unit
    rough = "; a rough guide, the guideline has no limit of this method" if value.is_rough_guide else ""
    found: Resource = {} if limits.low is None else {"low": _quantity(limits.low, unit)}
    if limits.high is not None:
        found["high"] = _quantity(limits.high, unit)
    found["type"] = {"coding": [{"system": f"{_HL7}/referencerange-meaning", "code": "normal"}]}
    if limits.applies_to in _SEXES:
        found["appliesTo"] = [{"text": f"{_SEXES[limits.applies_to]} adults"}]
    found["text"] = f"{limits.applies_to}, {value.source}{rough}"
    return found


def _derived_from(measurement: Measurement, study: ReportedStudy, key: str) -> Iterator[Resource]:
    """The observations that a value was computed from."""
    names = dict.fromkeys(name for item in measurement.evidence for name in item.derived_from)
    for name in names:
        if study.find(Quantity(name)) is not None:
            yield {"reference": _full_url(key, name), "type": "Observation"}


def _clips_of(measurement: Measurement) -> Iterator[Resource]:
    """The clips of the evidence, by the names they have in ``results.json``."""
    for item in measurement.evidence:
        frames = f", frames {', '.join(map(str, item.frames))}" if item.frames else ""
        identifier = {"system": CLIP_SYSTEM, "value": item.clip_id}
        yield {"type": "Media", "identifier": identifier, "display": f"{item.clip_id}{frames}"}


def _evidence_text(item: Evidence) -> str:
    """Clip, frames, names of contours and points, and calibration, in one line."""
    parts = [f"evidence: clip {item.clip_id}"]
    if item.frames:
        parts.append(f"frames {', '.join(map(str, item.frames))} counted from 0")
    drawn = [*item.contours_xy, *item.points_xy]
    if drawn:
        parts.append(f"in results.json: {', '.join(drawn)}")
    if item.row_mm is not None and item.column_mm is not None:
        source = item.calibration_source or "source unknown"
        parts.append(f"calibration {item.row_mm:.6g} x {item.column_mm:.6g} mm per pixel ({source})")
    return "; ".join(parts)


def _components(measurement: Measurement) -> Iterator[Resource]:
    """The 95 % interval and the confidence."""
    if measurement.interval is not None:
        low, high = (_quantity(end, measurement.unit) for end in measurement.interval)
        yield {"code": _detail("interval-95", "95 % interval"), "valueRange": {"low": low, "high": high}}
    if measurement.confidence is not None:
        confidence = _quantity(measurement.confidence, "1")
        yield {"code": _detail("confidence", "Confidence, 0 to 1"), "valueQuantity": confidence}


def _detail(code: str, text: str) -> Resource:
    return {"coding": [{"system": DETAIL_SYSTEM, "code": code, "display": text}], "text": text}
