"""All kinds of results at real receivers: DCMTK's storescp and Orthanc; and what happens when one sends them back."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from node_workplace import Workplace
from pydicom import dcmread
from real_peers import Orthanc, dcmtk_program, free_port, until

from echoapex.infer.outputs.report_files import ReportOutputError
from echoapex.serve.dicom_node import StorageHandler
from echoapex.serve.instance_file import read_instance_header
from echoapex.serve.jobs import JobKind
from echoapex.serve.ledger import SendState
from echoapex.serve.node_config import AnalysisSettings
from echoapex.serve.results import ResultMaker
from echoapex.serve.studies import Taken
from echoapex.serve.worker import AnalysisWork, JobLoop, TransferWork

ALL_KINDS = {
    "1.2.840.10008.5.1.4.1.1.88.72": "SR",
    "1.2.840.10008.5.1.4.1.1.88.33": "SR",
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.7.4": "OT",
    "1.2.840.10008.5.1.4.1.1.104.1": "DOC",
}


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """DCMTK's receiver: its port and its folder; skips where it is not installed."""
    port, folder = free_port(), tmp_path / "received"
    folder.mkdir()
    # +xa: take every encoding as it is
    words = [dcmtk_program("storescp"), "-aet", "DCMTK", "+xa", "--output-directory", folder, str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens() -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", port)) == 0

    until(listens, "storescp listens")
    yield port, folder
    process.kill()
    process.wait()


def test_reports_pictures_and_pdf_arrive_where_the_settings_say_so(
    workplace: Callable[..., Workplace],
    orthanc: Callable[..., Orthanc],
    storescp: tuple[int, Path],
    small_study: list[Path],
) -> None:
    server = orthanc()
    peers: dict[str, Any] = {
        "dcmtk": {"ae_title": "DCMTK", "host": "127.0.0.1", "port": storescp[0], "check": False},
        "orthanc": {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": server.dicom_port, "check": False},
    }
    analysis = {"contours": "ed_es", "precision": "fp32", "results": ["sr", "seg", "sc", "pdf"]}
    analysis["templates"] = ["5300", "5200"]
    place = workplace(peers=peers, send_to=list(peers), analysis=analysis)
    study_uid = place.take(small_study)
    place.parts.studies.settle(0)
    stop = threading.Event()
    JobLoop(place.parts, (JobKind.ANALYZE,), AnalysisWork(place.parts, stop).do, stop).do(place.claim())
    handler = StorageHandler(place.parts.studies, 512)
    for _ in peers:
        JobLoop(place.parts, (JobKind.SEND,), TransferWork(place.parts, handler).do, stop).do(place.claim())
    assert place.send_states() == {SendState.SENT: len(peers) * len(ALL_KINDS)}
    assert place.parts.studies.counts() == {"done": 1}

    received = [dcmread(path) for path in sorted(storescp[1].iterdir())]
    assert {str(one.SOPClassUID): one.Modality for one in received} == ALL_KINDS
    assert {one.StudyInstanceUID for one in received} == {study_uid}
    assert server.modalities() == sorted(ALL_KINDS.values())
    assert len({one.SeriesInstanceUID for one in received}) == len({one.Modality for one in received})
    document = next(one for one in received if one.Modality == "DOC")
    pdf = document.EncapsulatedDocument[: document.EncapsulatedDocumentLength]
    assert pdf.startswith(b"%PDF-") and pdf.rstrip().endswith(b"%%EOF")
    assert str(document.PatientID).encode() not in pdf

    # an archive that routes everything to the node must not begin a circle
    for one in received:
        content = Path(one.filename).read_bytes()
        header = read_instance_header(content)
        assert header
        assert place.parts.studies.take(content, header) is Taken.IGNORED
    assert place.parts.studies.counts() == {"done": 1}


def test_a_secondary_capture_of_another_maker_is_analysed(small_study: list[Path], tmp_path: Path) -> None:
    for maker, analysed in (("EchoApex", False), ("Another", True), ("", True)):
        dataset = dcmread(small_study[0])
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7.4"
        dataset.Manufacturer = maker
        dataset.save_as(tmp_path / "capture.dcm")
        header = read_instance_header((tmp_path / "capture.dcm").read_bytes())
        assert header
        assert header.is_analysed is analysed


def test_a_pdf_needs_its_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("echoapex.io.pdf.find_spec", lambda name: None)
    with pytest.raises(ReportOutputError, match="pip install"):
        ResultMaker(AnalysisSettings(results=("pdf",)), tmp_path)
