"""DICOMweb against a real Orthanc: find, retrieve, store, also by HTTPS and with a password; and what goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import TlsDoor, make_certificates
from node_workplace import Workplace
from pydicom import dcmread
from real_peers import Orthanc, free_port
from small_echo import write_small_study

from echoapex.cli import run
from echoapex.cli.console import ExitCode
from echoapex.serve.dicom_client import PeerError
from echoapex.serve.dicomweb import WebClient, fetch_study, parse_study_address
from echoapex.serve.jobs import JobKind
from echoapex.serve.ledger import SendState
from echoapex.serve.node_config import WebPeer
from echoapex.serve.worker import JobLoop, TransferWork
from echoapex.vocabulary import View

Make = Callable[..., Workplace]
Start = Callable[..., Orthanc]


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("dicomweb://pacs.example/dicom-web/studies/1.2.3", "https://pacs.example/dicom-web"),
        ("dicomweb://127.0.0.1:8042/dicom-web/studies/1.2.3/", "http://127.0.0.1:8042/dicom-web"),
        ("dicomweb:/localhost:8042/studies/1.2.3", "http://localhost:8042"),
        ("https://pacs:8443/studies/1.2.3", "https://pacs:8443"),
        ("http://pacs/studies/1.2.3", "http://pacs"),
    ],
)
def test_an_address_names_a_study(text: str, server: str) -> None:
    found = parse_study_address(text)
    assert found and (found.server, found.study_uid) == (server, "1.2.3")


@pytest.mark.parametrize(
    "text", ["dicomweb://pacs", "https://pacs/studies/", "https://pacs/studies/a", "study/", "file:/x"]
)
def test_other_arguments_name_none(text: str) -> None:
    assert parse_study_address(text) is None


def test_a_study_at_a_server_is_analysed(
    orthanc: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str], made_results: list[object]
) -> None:
    server = orthanc()
    files = write_small_study(tmp_path / "s", views=(View.PLAX, View.A4C))
    server.upload(tmp_path / "s")
    server.ask("/instances", made_results[0].path.read_bytes())  # type: ignore[attr-defined]
    study_uid = dcmread(files[0], stop_before_pixels=True).StudyInstanceUID
    address = f"{server.url}/dicom-web/studies/{study_uid}".replace("http:", "dicomweb:")
    out = tmp_path / "out"
    assert run(["analyze", address, "--out", str(out), "--contours", "ed_es", "--dicom-sr"]) == ExitCode.ALL_GOOD
    assert "2 images fetched" in capsys.readouterr().err
    assert sorted(path.name for path in (out / "dicom").iterdir()) == [
        "study-1-echo-sr.dcm",
        "study-1-measurements-sr.dcm",
    ]


def test_what_goes_wrong_with_an_address_is_one_line(
    orthanc: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = orthanc()
    out = ["--out", str(tmp_path / "out")]
    for address, code, line in (
        (f"{server.url}/dicom-web/studies/1.2.3", ExitCode.NOTHING_ANALYSED, "127.0.0.1: has no such study"),
        (f"http://127.0.0.1:{free_port()}/studies/1.2.3", ExitCode.NOTHING_ANALYSED, "cannot be reached"),
        (f"{server.url}/dicom-web", ExitCode.USAGE, "must end with /studies/UID"),
        (f"{server.url}/nothing/studies/1.2.3", ExitCode.NOTHING_ANALYSED, "HTTP 404"),
    ):
        assert run(["analyze", address, *out]) == code
        told = capsys.readouterr().err
        assert line in told and told.count("\n") == 1
    assert run(["analyze", f"{server.url}/dicom-web/studies/1.2.3"]) == ExitCode.USAGE


def test_results_are_stored_once(workplace: Make, orthanc: Start, small_study: list[Path]) -> None:
    server = orthanc()
    place = workplace(peers={"web": {"url": f"{server.url}/dicom-web/"}}, send_to=["web"])
    place.have_results(small_study)
    work = TransferWork(place.parts, None)  # type: ignore[arg-type]
    first, *rest = place.results
    client = WebClient("web", place.parts.config.peers["web"])  # type: ignore[arg-type]
    assert not client.has(first)
    # as if the node had died after the first was stored, before it was written down
    assert [error for _, error in client.store([first], lambda one: None)] == [None]
    place.parts.ledger.mark(first, "web", SendState.STARTED)
    JobLoop(place.parts, (JobKind.SEND,), work.do, threading.Event()).do(place.claim(JobKind.SEND))
    assert place.send_states() == {SendState.SENT: 1 + len(rest)}
    assert client.has(first)
    assert server.modalities() == ["SEG", "SR", "SR"]
    assert server.stored_events() == 3
    assert place.parts.studies.counts() == {"done": 1}


def test_https_and_a_password(orthanc: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = make_certificates(tmp_path / "tls")
    server = orthanc(AuthenticationEnabled=True, RegisteredUsers={"node": "word"})
    door = TlsDoor(files, server.http_port)
    monkeypatch.setenv("NODE_TEST_PASSWORD", "word")
    url = f"https://127.0.0.1:{door.port}/dicom-web"
    known = {"url": url, "user": "node", "password_env": "NODE_TEST_PASSWORD"}
    try:
        WebClient("web", WebPeer(**known, ca=files.ca)).echo()
        with pytest.raises(PeerError, match="its certificate is not trusted"):
            WebClient("web", WebPeer(**known)).echo()
        monkeypatch.setenv("NODE_TEST_PASSWORD", "wrong")
        with pytest.raises(PeerError, match="HTTP 401"):
            WebClient("web", WebPeer(**known, ca=files.ca)).echo()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(files.ca))
        address = parse_study_address(f"{url}/studies/1.2.3")
        assert address
        with pytest.raises(PeerError, match="HTTP 401"):
            fetch_study(address, tmp_path)
    finally:
        door.close()
