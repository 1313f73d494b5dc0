"""An authority and certificates for 127.0.0.1, made by OpenSSL for one test session."""

from __future__ import annotations

import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificates:
    """Files in PEM format: of the authority, and of one holder."""

    ca: Path
    certificate: Path
    key: Path


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


class TlsDoor:
    """Listens by TLS and hands everything on to a port without it, as a reverse proxy before an archive does.

    Args:
        files: certificate and key of the door.
        port: where everything is handed on to.
    """

    def __init__(self, files: Certificates, port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                try:
                    outer = context.wrap_socket(self.request, server_side=True)
                except (ssl.SSLError, OSError):
                    return  # the client does not trust the certificate
                with socket.create_connection(("127.0.0.1", port)) as inner:
                    back = threading.Thread(target=_hand_on, args=(inner, outer), daemon=True)
                    back.start()
                    _hand_on(outer, inner)
                    back.join(10)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _hand_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return  # one of the two sides is gone
