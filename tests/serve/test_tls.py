"""DICOM over TLS with certificates on both sides, checked with DCMTK and with our own client."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import Certificates, make_certificates
from node_workplace import Workplace
from real_peers import dcmtk, store_with_dcmtk

from echoapex.config import ConfigError
from echoapex.serve.dicom_client import DicomClient, PeerError
from echoapex.serve.node_config import DicomPeer, TlsFiles
from echoapex.serve.tls import client_context, server_context

Make = Callable[..., Workplace]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("other"))


def tls(files: Certificates) -> TlsFiles:
    return TlsFiles(certificate=files.certificate, key=files.key, ca=files.ca)


def test_both_sides_show_their_certificates(
    workplace: Make, files: Certificates, strangers: Certificates, small_study: list[Path]
) -> None:
    place = workplace(require_tls=True, tls=tls(files).model_dump())
    node, handler = place.listen()
    peer = DicomPeer(ae_title="ECHOAPEX", host="127.0.0.1", port=node.port, tls=True, timeout_s=5)
    try:
        own = ("+tls", str(files.key), str(files.certificate), "+cf", str(files.ca))
        result = store_with_dcmtk(node.port, small_study, *own)
        assert result.returncode == 0, result.stderr
        assert handler.counts == {"new": 1}
        DicomClient("node", peer, "SENDER", tls(files)).echo()
        other = ("+tls", str(strangers.key), str(strangers.certificate), "+cf", str(files.ca))
        address = ("-aet", "SENDER", "-aec", "ECHOAPEX", "127.0.0.1", node.port)
        assert dcmtk("echoscu", *other, *address).returncode != 0
        assert dcmtk("echoscu", "-to", 5, "-ta", 5, *address).returncode != 0  # without TLS
        for wrong in (tls(strangers), TlsFiles(ca=strangers.ca)):
            with pytest.raises(PeerError, match="cannot be reached"):
                DicomClient("node", peer, "SENDER", wrong).echo()
        with socket.create_connection(("127.0.0.1", node.port)):  # a silent one keeps nobody out
            DicomClient("node", peer, "SENDER", tls(files)).echo()
    finally:
        node.close(0.0)


def test_old_versions_are_refused(files: Certificates) -> None:
    for context in (server_context(tls(files)), client_context(tls(files))):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.verify_mode == ssl.CERT_REQUIRED


def test_a_wrong_file_is_one_line(tmp_path: Path, files: Certificates) -> None:
    wrong = tmp_path / "x.pem"
    wrong.write_text("no certificate")
    for broken in (TlsFiles(certificate=wrong, key=files.key), TlsFiles(ca=tmp_path / "none.pem")):
        with pytest.raises(ConfigError, match=r"^tls: "):
            client_context(broken)
