"""An authority and certificates for 127.0.0.1, made by OpenSSL for one test session."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificates:
    """Files in PEM format: of the authority, and of one holder."""

    ca: Path
    certificate: Path
    key: Path

    @property
    def joined(self) -> Path:
        """Certificate and key in one file."""
        path = self.certificate.with_suffix(".joined.pem")
        path.write_text(self.certificate.read_text() + self.key.read_text())
        return path


def make_certificates(folder: Path) -> Certificates:
    """Make them; skips where OpenSSL is not installed."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder.mkdir(parents=True, exist_ok=True)

    def openssl(*words: object) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, cwd=folder)

    new = ("req", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    openssl(*new, "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl(*new, "-keyout", "node.key", "-out", "node.csr", "-subj", "/CN=127.0.0.1")
    sign = ("x509", "-req", "-in", "node.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    openssl(*sign, "-extfile", "names", "-out", "node.pem")
    return Certificates(folder / "ca.pem", folder / "node.pem", folder / "node.key")
