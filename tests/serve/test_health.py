"""Health says what is wrong, metrics count what came, and neither holds an identifier; also by HTTPS."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from certificates import make_certificates
from node_workplace import Workplace
from pydicom import dcmread
from real_peers import free_port, store_with_dcmtk

from echoapex.serve.dicom_node import DicomNode
from echoapex.serve.health import HealthServer, NodeState

Make = Callable[..., Workplace]


@contextmanager
def watched(place: Workplace, workers: int = 1) -> Iterator[DicomNode]:
    node, handler = place.listen()
    server = HealthServer(NodeState(place.parts, handler, node, lambda: workers))
    try:
        yield node
    finally:
        server.close()
        node.close(0.0)


def ask(place: Workplace, path: str, context: Any = None) -> tuple[int, str]:
    scheme = "https" if context else "http"
    url = f"{scheme}://127.0.0.1:{place.parts.config.health.port}{path}"
    try:
        with urllib.request.urlopen(url, timeout=10, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics_count_what_came_without_identifiers(workplace: Make, small_study: list[Path]) -> None:
    place = workplace(health={"port": free_port()})
    with watched(place) as node:
        for _ in range(2):
            assert store_with_dcmtk(node.port, small_study).returncode == 0
        status, text = ask(place, "/metrics")
        assert status == 200
        for line in (
            'echoapex_instances_total{outcome="new"} 1',
            'echoapex_instances_total{outcome="duplicate"} 1',
            'echoapex_studies{state="receiving"} 1',
            "echoapex_workers 1",
        ):
            assert line in text.splitlines()
        dataset = dcmread(small_study[0], stop_before_pixels=True)
        assert not any(
            str(value) in text for value in (dataset.PatientID, dataset.PatientName, dataset.StudyInstanceUID)
        )
        assert ask(place, "/health") == (200, "ok\n")
        assert ask(place, "/other")[0] == 404


def test_health_says_what_is_wrong(workplace: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = workplace(health={"port": free_port()}, limits={"free_mb": 1e9})
    with watched(place, workers=0):

        def lost() -> None:
            raise sa.exc.OperationalError("SELECT", {}, Exception("gone"))

        monkeypatch.setattr(place.parts.queue, "counts", lost)
        status, text = ask(place, "/health")
        assert status == 503
        assert text.splitlines() == [
            "the database cannot be used",
            "the disk is nearly full: instances are refused",
            "no process of analysis runs",
        ]
        assert ask(place, "/metrics") == (503, "the database cannot be used\n")


def test_health_by_https(workplace: Make, tmp_path: Path) -> None:
    files = make_certificates(tmp_path / "tls")
    tls = {"certificate": files.certificate, "key": files.key}
    place = workplace(health={"port": free_port(), "tls": True}, tls=tls)
    with watched(place):
        trusting = ssl.create_default_context(cafile=str(files.ca))
        assert ask(place, "/health", trusting) == (200, "ok\n")
        with pytest.raises(urllib.error.URLError, match="certificate verify failed"):
            ask(place, "/health", ssl.create_default_context())
