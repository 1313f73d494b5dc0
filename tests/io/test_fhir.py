"""The bundle is valid FHIR, says what the results say, and names nobody."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from echoapex.domain import ClipReport, Evidence, Flag, Measurement
from echoapex.domain.reported_study import GradedValue, MissingValue, NormalLimits, ReportedStudy, UsedWeights
from echoapex.domain.results import LvhAssessment
from echoapex.io.fhir import LOINC, QUANTITY_SYSTEM, fhir_bundle, write_fhir
from echoapex.vocabulary import Quantity, View
from echoapex.vocabulary.codes import Code

bundles = pytest.importorskip("fhir.resources.R4B.bundle", reason="fhir.resources comes with the extra test")

EVIDENCE = Evidence(
    clip_id="clip-1",
    frames=(3, 9),
    contours_xy={"lv_cavity@3": ((1.0, 2.0), (3.0, 4.0), (2.0, 5.0))},
    row_mm=0.5,
    column_mm=0.5,
    calibration_source="SequenceOfUltrasoundRegions",
)
SOURCE = "ASE/EACVI 2015"


def graded(quantity: Quantity, number: float, *limits: NormalLimits, **more: Any) -> GradedValue:
    about = {key: more.pop(key) for key in ("category", "loinc", "is_rough_guide") if key in more}
    known = {"quantity": quantity, "value": number, "method": "m", "evidence": (EVIDENCE,)}
    return GradedValue(Measurement.model_validate(known | more), limits, source=SOURCE if limits else "", **about)


@pytest.fixture
def study() -> ReportedStudy:
    code = Code("79991-6", "LN", "Left ventricular ejection fraction biplane (MOD)")
    from_edv = EVIDENCE.model_copy(update={"derived_from": ("edv", "bsa")})
    values = (
        graded(
            Quantity.LVEF_DISCS,
            41.25,
            NormalLimits(52, 72, "men"),
            category="moderately abnormal",
            loinc=code,
            interval=(35.0, 47.5),
            confidence=0.8,
            flags=(Flag.SINGLE_PLANE,),
        ),
        graded(Quantity.EDV, 180.0, NormalLimits(46, 106, "women"), NormalLimits(62, 150, "men"), category=""),
        graded(Quantity.EDV_INDEX, 90.0, evidence=(from_edv,)),
        graded(
            Quantity.GLS_ENDOCARDIAL, -12.0, NormalLimits(None, -20, "adults"), category="above", is_rough_guide=True
        ),
        graded(Quantity.RV_FAC, 40.0, NormalLimits(35, None, "adults"), category="normal"),
    )
    clip = ClipReport(clip_id="clip-1", file="clip-1", frames=9, size=(8, 8), content="b_mode", view=View.A4C)
    return ReportedStudy(
        digest="12ab",
        values=values,
        missing=(MissingValue(Quantity.IVSD, "no clip shows it"),),
        clips=(clip,),
        lvh=LvhAssessment(reason="no category"),
        notes=("a note",),
        sex="M",
        weights=(UsedWeights("research/encoder", "0" * 64, "MIT"), UsedWeights("research/other", "0" * 64)),
        bundle="research",
        version="1.2.3",
        disclaimer="Research software.",
    )


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [item["resource"] for item in bundle["entry"] if item["resource"]["resourceType"] == kind]


def observation(bundle: dict[str, Any], quantity: Quantity) -> dict[str, Any]:
    def own(item: dict[str, Any]) -> str:
        return next(code["code"] for code in item["code"]["coding"] if code["system"] == QUANTITY_SYSTEM)

    (found,) = [item for item in resources(bundle, "Observation") if own(item) == quantity.value]
    return found


@pytest.mark.parametrize("html", [None, b"<html></html>"])
def test_the_bundle_is_valid_and_survives_its_model(study: ReportedStudy, html: bytes | None) -> None:
    bundle = fhir_bundle(study, html)
    model = bundles.Bundle.model_validate_json(json.dumps(bundle))
    assert json.loads(model.model_dump_json()) == bundle
    broken = json.loads(json.dumps(bundle))
    del broken["entry"][1]["resource"]["status"]
    with pytest.raises(ValueError, match="status"):
        bundles.Bundle.model_validate_json(json.dumps(broken))


def test_everything_is_preliminary_and_every_reference_leads_somewhere(study: ReportedStudy) -> None:
    bundle = fhir_bundle(study)
    (report,) = resources(bundle, "DiagnosticReport")
    found = resources(bundle, "Observation")
    assert {item["status"] for item in (report, *found)} == {"preliminary"}
    places = [entry["fullUrl"] for entry in bundle["entry"]]
    assert len(set(places)) == len(places)
    assert [item["reference"] for item in report["result"]] == places[1:-1]
    for item in found:
        assert item["device"]["reference"] == places[-1]
        for source in item.get("derivedFrom", ()):
            assert source.get("reference", places[0]) in places


def test_numbers_units_limits_and_interval(study: ReportedStudy) -> None:
    bundle = fhir_bundle(study)
    ejection = observation(bundle, Quantity.LVEF_DISCS)
    assert ejection["valueQuantity"] == {
        "value": 41.25, "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"
    }  # fmt: skip
    assert ejection["code"]["coding"][0] == {"system": LOINC, "code": "79991-6"}
    assert ejection["interpretation"][0]["coding"][0]["code"] == "L"
    assert ejection["interpretation"][0]["text"] == "moderately abnormal"
    (limits,) = ejection["referenceRange"]
    assert (limits["low"]["value"], limits["high"]["value"]) == (52, 72)
    assert limits["appliesTo"] == [{"text": "male adults"}]
    interval, confidence = ejection["component"]
    assert (interval["valueRange"]["low"]["value"], interval["valueRange"]["high"]["value"]) == (35.0, 47.5)
    assert confidence["valueQuantity"]["value"] == 0.8
    notes = " ".join(note["text"] for note in ejection["note"])
    assert "single plane" in notes
    assert "frames 3, 9" in notes
    assert "lv_cavity@3" in notes
    assert "0.5 x 0.5 mm per pixel (SequenceOfUltrasoundRegions)" in notes


def test_values_without_a_checked_code_have_our_own_only(study: ReportedStudy) -> None:
    coding = observation(fhir_bundle(study), Quantity.EDV_INDEX)["code"]["coding"]
    assert [code["system"] for code in coding] == [QUANTITY_SYSTEM]


def test_directions_of_grades(study: ReportedStudy) -> None:
    bundle = fhir_bundle(study)
    assert "interpretation" not in observation(bundle, Quantity.EDV), "no grade where the sexes differ"
    assert len(observation(bundle, Quantity.EDV)["referenceRange"]) == 2
    strain = observation(bundle, Quantity.GLS_ENDOCARDIAL)
    assert strain["interpretation"][0]["coding"][0]["code"] == "H"
    assert "rough guide" in strain["referenceRange"][0]["text"]
    assert observation(bundle, Quantity.RV_FAC)["interpretation"][0]["coding"][0]["code"] == "N"


def test_an_indexed_value_refers_to_the_values_it_came_from(study: ReportedStudy) -> None:
    bundle = fhir_bundle(study)
    sources = observation(bundle, Quantity.EDV_INDEX)["derivedFrom"]
    volume = observation(bundle, Quantity.EDV)["id"]
    assert [item["reference"] for item in sources if item["type"] == "Observation"] == [f"urn:uuid:{volume}"]
    assert [item["identifier"]["value"] for item in sources if item["type"] == "Media"] == ["clip-1"]


def test_what_was_not_measured_says_why(study: ReportedStudy) -> None:
    absent = observation(fhir_bundle(study), Quantity.IVSD)
    assert "valueQuantity" not in absent
    assert absent["dataAbsentReason"]["text"] == "no clip shows it"


def test_there_is_no_patient_and_no_time(study: ReportedStudy) -> None:
    text = json.dumps(fhir_bundle(study))
    for word in ("subject", "Patient", "effective", "issued", "timestamp", "lastUpdated"):
        assert f'"{word}' not in text


def test_the_report_is_inside_where_it_was_made(study: ReportedStudy) -> None:
    (report,) = resources(fhir_bundle(study, b"<p>the report</p>"), "DiagnosticReport")
    (form,) = report["presentedForm"]
    assert base64.b64decode(form["data"]) == b"<p>the report</p>"
    assert form["size"] == 17


def test_the_same_study_gives_the_same_file_and_another_other_identifiers(study: ReportedStudy, tmp_path: Path) -> None:
    first = write_fhir(tmp_path / "a.json", study).read_bytes()
    assert write_fhir(tmp_path / "b.json", study).read_bytes() == first
    changed = fhir_bundle(ReportedStudy(**{**vars(study), "values": study.values[1:]}))
    assert not {entry["fullUrl"] for entry in changed["entry"]} & {e["fullUrl"] for e in json.loads(first)["entry"]}
