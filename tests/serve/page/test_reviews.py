"""Decisions about values, the note, the signature, and what is exported of them."""

from __future__ import annotations

import csv
import json
import zipfile
from io import BytesIO, StringIO
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from page_client import PageClient
from pdf_text import page_texts
from pydicom import dcmread

from echoapex.domain import StudyReport


def value(page: PageClient, study: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in page.get(f"/studies/{study}")["values"] if one["id"] == name)
    return found


def decide(page: PageClient, study: str, name: str, status: int = 200, **change: Any) -> Any:
    return page.send("PATCH", f"/studies/{study}/values/{name}", change, status=status)


def exported(page: PageClient, study: str, kind: str) -> bytes:
    answer = page.client.get(f"/api/v1/studies/{study}/export/{kind}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"].startswith('attachment; filename="study-')
    return answer.content


def test_values_are_approved_edited_rejected_and_reopened(reviewed: PageClient) -> None:
    study = reviewed.study()
    first = value(reviewed, study, "lvef")
    assert decide(reviewed, study, "lvef", state="approved")["state"] == "approved"
    edited = decide(reviewed, study, "lvef", state="edited", value=61.5, reason="seen by eye")
    assert (edited["value"], edited["original"], edited["edited_by"]) == (61.5, first["value"], "local user")
    assert edited["interval"] is None
    assert reviewed.get("/studies")["studies"][0]["ef_percent"] == 61.5
    decide(reviewed, study, "lvef", state="edited", status=422)
    decide(reviewed, study, "ivsd", state="rejected", status=422)
    assert decide(reviewed, study, "ivsd", state="rejected", reason="oblique cut")["reason"] == "oblique cut"
    decide(reviewed, study, "nothing", state="approved", status=404)
    undone = reviewed.send("POST", f"/studies/{study}/undo")
    assert undone["undone"].startswith("rejected: ") and undone["clip"] is None
    assert value(reviewed, study, "ivsd")["state"] == "open"
    reviewed.send("POST", f"/studies/{study}/redo")
    assert value(reviewed, study, "ivsd")["state"] == "rejected"
    assert decide(reviewed, study, "lvef", state="open") == first
    entries = [entry for entry in reviewed.get(f"/studies/{study}/audit")["entries"] if entry["where"] == "lvef"]
    assert [entry["what"] for entry in entries] == ["value approved", "value edited", "value open"]
    assert entries[1]["before"]["state"] == "approved"
    assert entries[1]["after"]["value"] == 61.5 and entries[1]["who"] == "local user"


def test_an_approval_ends_when_a_correction_changes_the_number(reviewed: PageClient) -> None:
    study = reviewed.study()
    clip = next(one for one in reviewed.get(f"/studies/{study}")["clips"] if one["view"] == "PLAX")["clip"]
    decide(reviewed, study, "ivsd", state="approved")
    reviewed.send("PATCH", f"/studies/{study}/clips/{clip}", {"calibration": {"row_mm": 1.0, "column_mm": 1.0}})
    assert value(reviewed, study, "ivsd")["state"] == "open"
    reviewed.send("POST", f"/studies/{study}/undo")
    assert value(reviewed, study, "ivsd")["state"] == "approved"


def test_a_signature_locks_the_study_until_it_is_taken_back(reviewed: PageClient) -> None:
    study = reviewed.study()
    reviewed.send("PUT", f"/studies/{study}/note", {"text": "a good window"})
    signed = reviewed.send("POST", f"/studies/{study}/sign", {"statement": "I have reviewed this study."})
    assert signed["by"] == "local user" and signed["when"].endswith("+00:00")
    row = reviewed.get("/studies")["studies"][0]
    assert (row["state"], row["signed_by"]) == ("signed", "local user")
    assert reviewed.get("/studies?state=signed")["total"] == 1
    clip = reviewed.get(f"/studies/{study}")["clips"][0]["clip"]
    for method, path, body in (
        ("PATCH", "/values/lvef", {"state": "approved"}),
        ("PUT", "/note", {"text": ""}),
        ("POST", "/undo", None),
        ("POST", "/sign", {"statement": "again"}),
        ("PATCH", f"/clips/{clip}", {"view": "A2C"}),
        ("PUT", f"/clips/{clip}/calipers", {"frame": 0, "from": [0, 0], "to": [1, 1]}),
    ):
        told = reviewed.send(method, f"/studies/{study}{path}", body, status=409)
        assert "signed off" in told["detail"], path
    reviewed.send("DELETE", f"/studies/{study}", status=409)
    reviewed.send("DELETE", f"/studies/{study}/sign", status=204)
    reviewed.send("DELETE", f"/studies/{study}/sign", status=409)
    assert decide(reviewed, study, "lvef", state="approved")["state"] == "approved"
    assert reviewed.get(f"/studies/{study}")["note"] == "a good window"


@pytest.fixture
def decided(reviewed: PageClient) -> tuple[PageClient, str]:
    """A study with a corrected clip, an edited and a rejected value, and a note."""
    study = reviewed.study()
    clip = next(one for one in reviewed.get(f"/studies/{study}")["clips"] if one["view"] == "A4C")["clip"]
    reviewed.send(
        "PUT",
        f"/studies/{study}/clips/{clip}/masks",
        {"frame": 3, "structure": "left_atrium", "contour": [[40, 60], [60, 60], [60, 80], [40, 80]]},
    )
    decide(reviewed, study, "lvef", state="edited", value=61.5, reason="seen by eye")
    decide(reviewed, study, "lvidd", state="rejected", reason="oblique cut")
    reviewed.send("PUT", f"/studies/{study}/note", {"text": "Poor window."})
    return reviewed, study


def test_exports_leave_rejected_values_out_and_mark_edited_ones(decided: tuple[PageClient, str]) -> None:
    page, study = decided
    report = StudyReport.model_validate_json(exported(page, study, "json"))
    found = {item.quantity.value: item for item in report.measurements}
    assert "lvidd" not in found and "ivsd" in found
    assert found["lvef"].value == 61.5 and found["lvef"].interval is None
    assert found["lvef"].method.startswith("edited by a person; computed was ")
    assert found["lvef"].details["edited_by_person"]["reason"] == "seen by eye"
    rows = [row for row in csv.DictReader(StringIO(exported(page, study, "csv").decode())) if row["level"] == "study"]
    assert {row["quantity"] for row in rows} == set(found)
    assert next(row["value"] for row in rows if row["quantity"] == "lvef") == "61.5"
    html = exported(page, study, "html").decode()
    assert "Poor window." in html and "seen by eye" in html and "edited by a person" in html
    assert "not reviewed by a reader" not in html and "data:image/jpeg" in html
    page.send("POST", f"/studies/{study}/sign", {"statement": "I have reviewed this study."})
    printed = " ".join(" ".join(page_texts(exported(page, study, "pdf"))).split())
    assert "Signed off by local user" in printed and "edited by a person" in printed


def test_dicom_and_fhir_exports_are_valid_objects_of_the_study(decided: tuple[PageClient, str]) -> None:
    page, study = decided
    bundle = Bundle.model_validate(json.loads(exported(page, study, "fhir")))
    texts = bundle.model_dump_json()
    assert "61.5" in texts and "edited by a person" in texts
    sources = {str(dcmread(path).StudyInstanceUID) for path in _inputs(page, study)}
    for kind, template in (("sr", "5300"), ("sr1500", "1500")):
        dataset = dcmread(BytesIO(exported(page, study, kind)))
        assert {str(dataset.StudyInstanceUID)} == sources
        assert dataset.ContentTemplateSequence[0].TemplateIdentifier == template
        assert 61.5 in _numbers(dataset)
    packed = zipfile.ZipFile(BytesIO(exported(page, study, "seg")))
    objects = [dcmread(BytesIO(packed.read(name))) for name in packed.namelist()]
    assert [one.Modality for one in objects] == ["SEG", "SEG"]


def _inputs(page: PageClient, study: str) -> list[str]:
    clips = page.get(f"/studies/{study}")["clips"]
    return [page.parts.inputs.place(study, clip["clip"]) for clip in clips]


def _numbers(dataset: Any) -> list[float]:
    """All numbers of a structured report."""
    return [float(element.value) for element in dataset.iterall() if element.keyword == "NumericValue"]
