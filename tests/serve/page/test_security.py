"""Who may reach the page, and what is refused: hosts, origins, CSRF, sizes, roles; and that nothing names a patient."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from header_canaries import DATE, MARK, ROOT
from page_client import API, PageClient
from pydicom import dcmread
from small_echo import write_small_study

from echoapex.config import ConfigError, build_config
from echoapex.serve.page.page_config import PageConfig
from echoapex.serve.page.schemas import Role
from echoapex.serve.page.sessions import add_user

Pages = Callable[..., PageClient]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8765", "", "[::2]:8765", "localhost.:8765"])
def test_another_host_name_is_refused(page: Pages, host: str) -> None:
    opened = page()
    for path in (f"{API}/studies", f"{API}/session", "/", f"{API}/health"):
        answer = opened.client.get(path, headers={"host": host})
        assert answer.status_code == 403, path
        assert "--name" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "[::1]:8765", "LOCALHOST"])
def test_this_machine_is_known_by_its_names(page: Pages, host: str) -> None:
    assert page().client.get(f"{API}/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_site_can_neither_change_nor_read(page: Pages, headers: dict[str, str]) -> None:
    opened = page()
    opened.get("/studies", status=403, headers=headers)
    opened.send("POST", "/studies", status=403, headers=headers, files=[("files", ("a", b"a"))])


def test_a_link_from_elsewhere_opens_the_page(page: Pages, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "index.html").write_text("page")
    answer = page(web=tmp_path / "web").client.get("/", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200


def test_no_change_without_the_csrf_header_of_the_session(reviewed: PageClient) -> None:
    study = reviewed.study()
    changes: list[tuple[str, str]] = [
        (method.upper(), path.replace("{study}", study))
        for path, methods in reviewed.get("/openapi.json")["paths"].items()
        for method in methods
        if method not in ("get", "head")
    ]
    assert len(changes) >= 15
    for method, path in changes:
        for headers in ({}, {"x-echoapex-csrf": ""}, {"x-echoapex-csrf": "guessed"}):
            answer = reviewed.client.request(method, path, json={}, headers=headers)
            assert answer.status_code == 403, (method, path)
    reviewed.client.cookies.clear()
    for method, path in changes:
        answer = reviewed.client.request(method, path, json={}, headers={"x-echoapex-csrf": reviewed.csrf})
        assert answer.status_code == 403, (method, path)
    assert reviewed.get(f"/studies/{study}/audit")["entries"] == []


@pytest.fixture
def users(tmp_path: Path) -> dict[str, str]:
    """The tokens of a user of each role."""
    return {role.value: add_user(tmp_path / "users.json", role.value, role) for role in Role}


def test_each_role_may_do_what_it_says(
    page: Pages, users: dict[str, str], tmp_path: Path, analysed_study: Path
) -> None:
    opened = page(tokens=tmp_path / "users.json", studies=str(analysed_study), logged_in=False)
    assert opened.get("/session")["needs_login"] is True
    assert opened.get("/studies", status=401)["detail"].startswith("log in first")
    opened.send("POST", "/session", {"token": "wrong"}, status=401)
    opened.open(users["reader"])
    study = opened.study()
    assert opened.get("/session")["role"] == "reader" and opened.get("/session")["user"] == "reader"
    opened.send("PATCH", f"/studies/{study}/values/lvef", {"state": "approved"}, status=403)
    opened.send("DELETE", "/session", status=204)
    opened.get("/studies", status=401)
    opened.csrf = ""
    opened.open(users["reviewer"])
    assert opened.send("PATCH", f"/studies/{study}/values/lvef", {"state": "approved"})["state"] == "approved"
    opened.send("POST", f"/studies/{study}/sign", {"statement": "done"})
    opened.send("DELETE", f"/studies/{study}/sign", status=403)
    opened.send("DELETE", f"/studies/{study}", status=403)
    opened.send("DELETE", "/session", status=204)
    opened.csrf = ""
    opened.open(users["admin"])
    opened.send("DELETE", f"/studies/{study}/sign", status=204)
    assert [entry["who"] for entry in opened.get(f"/studies/{study}/audit")["entries"]] == [
        "reviewer",
        "reviewer",
        "admin",
    ]
    opened.send("DELETE", f"/studies/{study}", status=204)


def test_a_cookie_is_no_prey_of_scripts_and_other_sites(page: Pages, users: dict[str, str], tmp_path: Path) -> None:
    opened = page(tokens=tmp_path / "users.json", logged_in=False)
    answer = opened.client.post(f"{API}/session", json={"token": users["reader"]})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie
    assert users["reader"] not in answer.text + cookie
    state = (tmp_path / "state" / "state.db").read_bytes() + (tmp_path / "state" / "state.db-wal").read_bytes()
    value = answer.cookies["echoapex_session"].encode()
    assert value not in state and users["reader"].encode() not in state
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_too_many_logins_are_refused(page: Pages, users: dict[str, str], tmp_path: Path) -> None:
    limits = {"free_mb": 1, "logins_per_minute": 3}
    opened = page(tokens=tmp_path / "users.json", limits=limits, logged_in=False)
    for _ in range(3):
        opened.send("POST", "/session", {"token": "wrong"}, status=401)
    told = opened.send("POST", "/session", {"token": users["admin"]}, status=429)
    assert "wait a minute" in told["detail"]


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"host": "0.0.0.0"}, "--tokens and --tls-cert"),
        ({"host": "192.0.2.7", "tokens": "users.json"}, "--tls-cert"),
        ({"host": "::", "tls_certificate": "a.pem", "tls_key": "b.pem"}, "--tokens"),
        ({"tls_certificate": "a.pem"}, "--tls-key"),
    ],
)
def test_other_machines_are_served_only_by_token_and_tls(settings: dict[str, Any], missing: str) -> None:
    with pytest.raises(ConfigError, match=missing):
        build_config(PageConfig, {"state": "state", **settings}, "settings")


def test_names_in_an_upload_lead_nowhere(page: Pages, tmp_path: Path) -> None:
    opened = page()
    names = [
        "../../../evil.avi",
        "/etc/evil.avi",
        "..\\..\\evil.avi",
        "C:\\evil.avi",
        "a\x00b.avi",
        "x" * 3000 + ".avi",
    ]
    opened.upload([(name, b"RIFF\x10\x00\x00\x00AVI LIST" + bytes([number])) for number, name in enumerate(names)])
    outside = list(tmp_path.rglob("*evil*"))
    assert not outside
    kept = list((tmp_path / "state" / "inputs").rglob("*.avi"))
    assert len(kept) == len(names) and all(len(path.name) == 36 for path in kept)


def archive(members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", kind) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return packed.getvalue()


def test_hostile_archives_are_refused_before_they_are_unpacked(page: Pages, tmp_path: Path) -> None:
    opened = page(limits={"free_mb": 1, "expanded_mb": 50, "files": 20})
    hostile = {
        "bomb.zip": archive({"a.dcm": b"\0" * 30_000_000}),
        "large.zip": archive({f"{number}.dcm": b"\0" * 9_000_000 for number in range(6)}),
        "out.zip": archive({"../../evil.dcm": b"x"}),
        "inner.zip": archive({"inner.zip": archive({"a.dcm": b"x"})}),
        "many.zip": archive({f"{number}.dcm": b"x" for number in range(30)}),
        "cut.zip": archive({"a.dcm": b"x" * 5000}, zipfile.ZIP_STORED)[:3000],
    }
    told = opened.upload(list(hostile.items()))
    assert told["studies"] == []
    reasons = [one["reason"] for one in told["refused"]]
    for reason, part in zip(
        reasons,
        ("bombs do", "expand to more than", "outside the archive", "another archive", "more than 20 files", "damaged"),
        strict=True,
    ):
        assert part in reason
    assert list((tmp_path / "state" / "inputs").rglob("*")) == []


def test_an_upload_has_limits(page: Pages) -> None:
    opened = page(limits={"free_mb": 1, "upload_mb": 1, "file_mb": 0.5, "files": 3})
    told = opened.upload([("big.avi", b"RIFF\x10\x00\x00\x00AVI LIST" + b"\0" * 600_000)])
    assert "larger than 0.5 MB" in told["refused"][0]["reason"]
    told = opened.upload([("a.avi", b"\0" * 18_000_000)], status=413)
    assert "upload fewer files" in told["detail"]
    opened.upload([(f"{number}.avi", b"x") for number in range(5)], status=413)
    headers = {"x-echoapex-csrf": opened.csrf, "content-type": "multipart/form-data; boundary=x"}
    stream = (b"--x\r\n" + b"\0" * 1_000_000 for _ in range(20))  # without a length
    answer = opened.client.post(f"{API}/studies", content=stream, headers=headers)
    assert answer.status_code in (400, 413)
    opened.upload([], status=422)


def write_named(folder: Path, name: str) -> Path:
    """A clip whose header and file name hold canaries."""
    (plain,) = write_small_study(folder / "plain")
    dataset = dcmread(plain)
    for keyword in ("PatientName", "PatientID", "AccessionNumber", "InstitutionName", "StudyDescription", "ViewName"):
        setattr(dataset, keyword, f"{MARK}^JANE" if keyword == "PatientName" else f"{MARK}1")
    for number, keyword in enumerate(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")):
        setattr(dataset, keyword, f"{ROOT}{number}")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PatientBirthDate = dataset.StudyDate = DATE
    dataset.save_as(folder / name)
    return folder / name


def test_nothing_names_the_patient(page: Pages, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_named(tmp_path, f"{MARK}^JANE.dcm")
    opened = page()
    with caplog.at_level(logging.DEBUG):
        told = opened.upload(
            [path, (f"{MARK}.txt", MARK.encode()), (f"{MARK}/{MARK}.avi", b"RIFF\x10\x00\x00\x00AVI LIST")]
        )
        rows = opened.when_ready(2)
        answers = [str(told), str(rows)]
        for row in rows:
            for end in ("", "/audit", "/export/json", "/export/html", "/export/csv", "/export/fhir"):
                answer = opened.client.get(f"{API}/studies/{row['study']}{end}")
                answers += [answer.text, str(answer.headers), str(answer.url)]
    everything = "\n".join([*answers, caplog.text])
    assert "ready" in answers[1] and "failed" in answers[1]
    for canary in (MARK, ROOT, DATE, "JANE"):
        assert canary not in everything, canary


def test_an_internal_error_says_its_kind_and_no_more(
    page: Pages, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened = page()

    def fail(*_: object) -> None:
        raise RuntimeError("DOE^JANE")

    monkeypatch.setattr(opened.parts.studies, "rows", fail)
    with caplog.at_level(logging.INFO):
        told = opened.get("/studies", status=500)
    assert "DOE" not in str(told) + caplog.text and "RuntimeError" in caplog.text
