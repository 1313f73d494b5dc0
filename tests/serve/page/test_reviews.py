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
from echoapex.measure import WallThickness, lv_mass_g


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
    again = decide(reviewed, study, "lvef", state="open")
    assert {key: again[key] for key in first} == first
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


def mass_g(values: dict[str, Any]) -> float:
    return lv_mass_g(WallThickness(*(values[name]["value"] for name in ("ivsd", "lvidd", "lvpwd"))))


def test_what_rests_on_an_edited_value_follows_and_the_trail_keeps_the_old_numbers(reviewed: PageClient) -> None:
    study = reviewed.study()
    before = {one["id"]: one for one in reviewed.get(f"/studies/{study}")["values"]}
    edited = decide(reviewed, study, "lvpwd", state="edited", value=17.5, reason="seen by eye")
    others = {one["id"]: one for one in edited["others"]}
    assert set(others) == {"lv_mass", "rwt"} and edited["gone"] == []
    assert others["rwt"]["value"] == pytest.approx(2 * 17.5 / before["lvidd"]["value"])
    assert (others["rwt"]["follows"], others["rwt"]["original"]) == (["lvpwd"], before["rwt"]["value"])
    now = {one["id"]: one for one in reviewed.get(f"/studies/{study}")["values"]}
    assert now["lv_mass"]["value"] == pytest.approx(mass_g(now)) != before["lv_mass"]["value"]
    assert {name for name in now if now[name] != before[name]} == {"lvpwd", "lv_mass", "rwt"}
    entry = next(one for one in reviewed.get(f"/studies/{study}/audit")["entries"] if one["where"] == "lv_mass")
    assert (entry["what"], entry["who"]) == ("value computed again", "local user")
    assert entry["before"] == {"value": before["lv_mass"]["value"]}
    assert entry["after"] == {"value": now["lv_mass"]["value"], "follows": ["lvpwd"]}
    rejected = decide(reviewed, study, "ivsd", state="rejected", reason="oblique cut")
    (mass,) = rejected["others"]
    assert mass["id"] == "lv_mass" and "which was rejected" in mass["left_out"]
    assert mass["value"] == before["lv_mass"]["value"]
    assert "left out" in decide(reviewed, study, "lv_mass", state="approved", status=409)["detail"]
    assert decide(reviewed, study, "lv_mass", state="edited", value=150.0, reason="by M-mode")["left_out"] == ""
    for _ in range(3):
        reviewed.send("POST", f"/studies/{study}/undo")
    assert {one["id"]: one for one in reviewed.get(f"/studies/{study}")["values"]} == before
    last = [one for one in reviewed.get(f"/studies/{study}/audit")["entries"] if one["where"] == "lv_mass"][-1]
    assert last["after"] == {"value": before["lv_mass"]["value"]}


def test_a_value_of_a_clip_changes_the_study_and_an_approval_of_what_follows_ends(reviewed: PageClient) -> None:
    study = reviewed.study()
    before = {one["id"]: one for one in reviewed.get(f"/studies/{study}")["values"]}
    (name,) = [one for one in before if one.startswith("lvidd@")]
    decide(reviewed, study, "lv_mass", state="approved")
    decide(reviewed, study, name, state="edited", value=44.0, reason="seen by eye")
    now = {one["id"]: one for one in reviewed.get(f"/studies/{study}")["values"]}
    assert now["lvidd"]["value"] == 44.0 and now["lvidd"]["follows"] == [name]
    assert now["lv_mass"]["value"] == pytest.approx(mass_g(now)) and now["lv_mass"]["state"] == "open"


def test_all_exports_say_the_same_of_what_follows(reviewed: PageClient) -> None:
    study = reviewed.study()
    decide(reviewed, study, "lvpwd", state="edited", value=17.5, reason="seen by eye")
    for is_rejected in (False, True):
        if is_rejected:
            decide(reviewed, study, "ivsd", state="rejected", reason="oblique cut")
        shown = {one["id"]: one for one in reviewed.get(f"/studies/{study}")["values"] if "@" not in one["id"]}
        kept = {name for name, one in shown.items() if not one["left_out"] and one["state"] != "rejected"}
        expected = {name: shown[name]["value"] for name in kept}
        assert ("lv_mass" in expected) is not is_rejected and "rwt" in expected
        report = StudyReport.model_validate_json(exported(reviewed, study, "json"))
        assert {item.quantity.value: item.value for item in report.measurements} == expected
        rows = csv.DictReader(StringIO(exported(reviewed, study, "csv").decode()))
        table = {row["quantity"]: float(row["value"]) for row in rows if row["level"] == "study"}
        assert table == pytest.approx(expected)
        mass = shown["lv_mass"]["value"]
        for kind in ("sr", "sr1500"):
            numbers = _numbers(dcmread(BytesIO(exported(reviewed, study, kind))))
            assert any(one == pytest.approx(17.5) for one in numbers), kind
            assert any(one == pytest.approx(expected["rwt"], rel=1e-4) for one in numbers), kind
            assert any(one == pytest.approx(mass, rel=1e-4) for one in numbers) is not is_rejected, kind
        html = exported(reviewed, study, "html").decode()
        printed = " ".join(" ".join(page_texts(exported(reviewed, study, "pdf"))).split())
        for text in (html, printed):
            assert "Computed again" in text and f"{expected['rwt']:.2f}" in text
            assert ("Left out" in text and "which was rejected" in text) is is_rejected
            assert (f"{mass:.0f} g" in " ".join(text.replace("\u00a0", " ").split())) is not is_rejected
        assert bool([note for note in report.notes if "is left out: " in note]) is is_rejected


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
