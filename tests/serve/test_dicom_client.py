"""The client asks a real Orthanc: echo, find, move, get, store and storage commitment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from node_workplace import Workplace
from real_peers import Orthanc, free_port, until
from small_echo import write_small_study

from echoapex.serve.dicom_client import DicomClient, PeerError
from echoapex.serve.jobs import JobKind
from echoapex.serve.ledger import SendState
from echoapex.serve.node_config import DicomPeer, TlsFiles
from echoapex.serve.worker import JobLoop, TransferWork, client_of
from echoapex.vocabulary import View

Make = Callable[..., Workplace]
Start = Callable[..., Orthanc]


class Site:
    """A node in this process, and an Orthanc that knows it."""

    def __init__(self, workplace: Make, orthanc: Start, **peer: Any) -> None:
        port = free_port()
        settings = {"DicomModalities": {"node": ["ECHOAPEX", "127.0.0.1", port]}}
        self.orthanc = orthanc(**settings)
        archive = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": self.orthanc.dicom_port, **peer}
        web = {"url": f"{self.orthanc.url}/dicom-web"}
        self.place = workplace(port=port, peers={"archive": archive, "web": web}, send_to=["archive"])
        self.node, self.handler = self.place.listen()

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self.node.close(2.0)

    def client(self) -> DicomClient:
        client = client_of(self.place.parts.config, "archive")
        assert isinstance(client, DicomClient)
        return client

    def do(self, *kinds: JobKind) -> None:
        """Do the next job as a worker does."""
        work = TransferWork(self.place.parts, self.handler)
        JobLoop(self.place.parts, kinds, work.do, threading.Event()).do(self.place.claim(*kinds))


@pytest.mark.parametrize("way", ["move", "get", "web"])
def test_a_study_is_found_and_retrieved(workplace: Make, orthanc: Start, tmp_path: Path, way: str) -> None:
    files = write_small_study(tmp_path / "s", views=(View.PLAX, View.A4C))
    with Site(workplace, orthanc, **({} if way == "web" else {"retrieve": way})) as site:
        site.orthanc.upload(tmp_path / "s")
        for result in site.place.results:  # a mixed study: reports and segmentations beside the images
            site.orthanc.ask("/instances", result.path.read_bytes())
        client = site.client()
        client.echo()
        (found,) = client.find_studies(StudyDate="20000101")
        assert not client.find_studies(StudyDate="19000101")
        study_uid = found["StudyInstanceUID"]
        assert found["NumberOfStudyRelatedInstances"] == str(len(files) + len(site.place.results))
        parts = site.place.parts
        with parts.database.begin() as connection:
            parts.queue.add(connection, JobKind.RETRIEVE, study_uid, peer="web" if way == "web" else "archive")
        site.do(JobKind.RETRIEVE)
        assert parts.queue.counts() == {("retrieve", "done"): 1}, parts.queue.dead_letters()
        parts.studies.settle(0)
        fetched = parts.studies.input_of(study_uid).files
        assert len(fetched) == len(files)
        pixels = [path.read_bytes()[-5000:-100] for path in files]
        assert all(any(piece in path.read_bytes() for path in fetched) for piece in pixels), "pixels were re-encoded"


def test_a_study_that_is_not_there(workplace: Make, orthanc: Start) -> None:
    with Site(workplace, orthanc) as site:
        parts = site.place.parts
        with parts.database.begin() as connection:
            parts.queue.add(connection, JobKind.RETRIEVE, "1.2.3.4", peer="web")
        site.do(JobKind.RETRIEVE)
        (letter,) = parts.queue.dead_letters()
        assert letter.reason == "web: has no such study"


def test_results_are_stored_and_committed(workplace: Make, orthanc: Start, small_study: list[Path]) -> None:
    with Site(workplace, orthanc, commitment=True) as site:
        site.place.have_results(small_study)
        number = len(site.place.results)
        assert not site.client().has(site.place.results[0])
        site.do(JobKind.SEND)
        assert site.place.send_states() == {SendState.SENT: number}
        assert site.client().has(site.place.results[0])
        assert site.orthanc.modalities() == ["SEG", "SR", "SR"]
        assert site.place.parts.studies.counts() == {"sending": 1}
        site.do(JobKind.COMMIT)
        until(lambda: site.place.send_states() == {SendState.COMMITTED: number}, "Orthanc commits itself")
        until(lambda: site.place.parts.queue.claim("test/1-0", [JobKind.SEND]) is None, "nothing is left to send")
        job = until(lambda: site.place.parts.queue.claim("test/1-0", [JobKind.COMMIT]), "the commitment is looked at")
        work = TransferWork(site.place.parts, site.handler)
        work.do(job)
        assert site.place.parts.studies.counts() == {"done": 1}


def test_what_an_archive_lost_is_sent_again(workplace: Make, orthanc: Start, small_study: list[Path]) -> None:
    with Site(workplace, orthanc, commitment=True) as site:
        site.place.have_results(small_study)
        site.do(JobKind.SEND)
        lost = site.orthanc.ask("/instances")[0]
        site.orthanc.ask(f"/instances/{lost}", method="DELETE")
        site.do(JobKind.COMMIT)
        until(lambda: site.place.send_states().get(SendState.STARTED) == 1, "Orthanc lacks one object")
        until(lambda: site.place.send_states().get(SendState.COMMITTED) == 2, "Orthanc has the others")
        site.do(JobKind.SEND)
        assert site.orthanc.modalities() == ["SEG", "SR", "SR"]


def test_errors_are_one_line() -> None:
    peer = DicomPeer(ae_title="NOBODY", host="127.0.0.1", port=free_port(), timeout_s=2)
    with pytest.raises(PeerError, match=r"^archive: cannot be reached; check host, port and TLS$"):
        DicomClient("archive", peer, "ECHOAPEX", TlsFiles()).echo()


def test_a_wrong_title_is_named(orthanc: Start) -> None:
    server = orthanc()
    peer = DicomPeer(ae_title="WRONG", host="127.0.0.1", port=server.dicom_port)
    with pytest.raises(PeerError, match="check the AE titles"):
        DicomClient("archive", peer, "ECHOAPEX", TlsFiles()).echo()
