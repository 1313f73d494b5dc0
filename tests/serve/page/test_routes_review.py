"""Results are sent to a peer over DICOM, and what goes wrong there is one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from page_client import PageClient
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts
from real_peers import free_port


@pytest.fixture
def archive() -> Iterator[tuple[int, list[str]]]:
    """An archive that takes everything: its port, and the modalities that it got."""
    got: list[str] = []

    def keep(event: Any) -> int:
        got.append(str(event.dataset.Modality))
        return 0x0000

    entity = AE(ae_title="ARCHIVE")
    entity.supported_contexts = AllStoragePresentationContexts
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    assert server is not None
    yield server.server_address[1], got
    server.shutdown()


def test_reports_and_segmentations_are_sent(
    page: Callable[..., PageClient], analysed_study: Path, archive: tuple[int, list[str]], tmp_path: Path
) -> None:
    port, got = archive
    peers = {
        "archive": {"ae_title": "ARCHIVE", "host": "127.0.0.1", "port": port},
        "nobody": {"ae_title": "NOBODY", "host": "127.0.0.1", "port": free_port(), "timeout_s": 2},
    }
    settings = {"data": "data", "accept_from": ["ARCHIVE"], "peers": peers}
    (tmp_path / "node.yaml").write_text(yaml.safe_dump(settings))
    shutil.copytree(analysed_study, tmp_path / "studies")
    opened = page(studies=str(tmp_path / "studies"), peers=tmp_path / "node.yaml")
    study = opened.study()
    assert [one["name"] for one in opened.get("/peers")["peers"]] == ["archive", "nobody"]
    assert opened.send("POST", f"/studies/{study}/send", {"peer": "archive"}) == {"sent": 4, "refused": []}
    assert sorted(got) == ["SEG", "SEG", "SR", "SR"]
    told = opened.send("POST", f"/studies/{study}/send", {"peer": "nobody"}, status=503)
    assert told["detail"] == "nobody: cannot be reached; check host, port and TLS"
    opened.send("POST", f"/studies/{study}/send", {"peer": "elsewhere"}, status=404)
    entries = opened.get(f"/studies/{study}/audit")["entries"]
    assert [entry["what"] for entry in entries] == ["sent to archive"]


def test_without_peers_there_are_none(reviewed: PageClient) -> None:
    assert reviewed.get("/peers") == {"peers": []}
